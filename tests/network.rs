//! The judge of `tests/network/run` by itself; the cells need machines (see there).

mod common;

#[test]
fn the_judge_of_the_network_cells_can_say_no() {
    const PYTHON: &str = "/usr/bin/python3";
    if common::have(PYTHON) {
        let ran = std::process::Command::new(PYTHON).arg("tests/network/selftest").output().expect("python3 runs");
        let says = String::from_utf8_lossy(&ran.stderr);
        println!("{says}");
        assert!(ran.status.success() && !says.contains("Ran 0 tests"), "{says}");
    }
}
