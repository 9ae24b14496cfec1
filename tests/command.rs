//! The `coord` command as a user runs it: exit status, sentences, closed pipes, and the demo's own negative control.

mod common;

use std::path::Path;
use std::process::{Command, Output, Stdio};

fn coord(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_coord")).args(args).output().expect("the command starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A demo of about two seconds in `dir`, by a VFS of SQLite's own; its exit status and its JSON.
fn demo(dir: &Path, vfs: &str) -> (Option<i32>, serde_json::Value) {
    let dir = dir.to_str().expect("a temporary directory is UTF-8");
    let output = coord(&["demo", "--json", "--seconds=2", "--lease-ms=1000", "--dir", dir, "--vfs", vfs]);
    let json = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", stdout(&output), stderr(&output)));
    (output.status.code(), json)
}

/// On a local disk SQLite's own locks are sound, so the demo holds there without coord; and it clears up.
#[test]
fn the_demo_holds_where_locks_work() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("a dir?with#odd%names");
    let (status, json) = demo(&dir, "unix");
    assert_eq!((status, json["verdict"].as_str()), (Some(0), Some("HELD")), "{json:#}");
    assert!(json["commits"].as_u64().unwrap() > 0);
    let deeds = json["deeds"].to_string();
    assert!(deeds.contains("killed writer 2") && deeds.contains("writer 1 came back"), "{deeds}");
    assert!(!dir.exists(), "the demo's directory was left behind");
}

/// The negative control: with no locks at all the same demo must find the database broken, and keep it.
#[test]
fn the_demo_finds_out_where_locks_do_not_work() {
    let dir = tempfile::tempdir().unwrap();
    let (status, json) = demo(dir.path(), "unix-none");
    assert_eq!((status, json["verdict"].as_str()), (Some(1), Some("BROKEN")), "{json:#}");
    assert!(dir.path().join("demo.sqlite").exists());
}

/// Ctrl-C has a status of its own, and whoever asked for JSON gets it.
#[test]
fn interrupted_bench_and_demo_clear_up_and_say_so() {
    for command in [["bench", "--workloads=r1", "--millis=60000"].as_slice(), &["demo", "--seconds=600"]] {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("here");
        let mut child = Command::new(env!("CARGO_BIN_EXE_coord"));
        child.args(command).arg("--json").arg("--dir").arg(if command[0] == "bench" { parent.path() } else { &dir });
        let child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let is_database = |path: &Path| path.extension().is_some_and(|extension| extension == "sqlite");
        let files = |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        common::until("a database", || files(parent.path()).any(|dir| files(&dir).any(|path| is_database(&path))));
        // SAFETY: a plain call; the child has not been waited for, so the pid is its own.
        unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{command:?}: {}", stderr(&output));
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(json["error"].as_str().unwrap().starts_with("interrupted; "), "{json}");
        assert_eq!(files(parent.path()).count(), 0, "{command:?} left something");
    }
}

/// What a program reads that asked for JSON must be JSON when nothing came of it, too.
#[test]
fn with_json_a_failure_is_told_as_an_object() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("demo.sqlite"), "precious").unwrap();
    let (dir, nowhere) = (dir.path().to_str().unwrap(), "/nowhere/at/all");
    for args in [
        ["inspect", "--json", nowhere].as_slice(),
        &["detach", "--json", nowhere],
        &["check", "--json", nowhere],
        &["bench", "--json", "--dir", nowhere],
        &["demo", "--json", "--dir", dir],
    ] {
        let output = coord(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let json: serde_json::Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{args:?}: {error}"));
        let error = json["error"].as_str().expect("a sentence");
        assert!(stderr(&output).contains(error) && error.contains(args.last().unwrap()), "{args:?}: {error}");
    }
}

#[test]
fn the_demo_overwrites_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let precious = dir.path().join("demo.sqlite");
    std::fs::write(&precious, "precious").unwrap();
    let output = coord(&["demo", "--dir", dir.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("overwrites nothing"), "{}", stderr(&output));
    assert_eq!(std::fs::read(&precious).unwrap(), b"precious");
}

#[test]
fn inspect_tells_of_an_idle_database_and_of_a_missing_one() {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("idle.sqlite");
    std::fs::write(&database, "").unwrap();
    let database = database.to_str().unwrap();
    let output = coord(&["inspect", database]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stdout(&output).contains("nobody holds anything"), "{}", stdout(&output));
    let output = coord(&["inspect", "--json", database]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["locks"], &json["network_exclusive"]), (&serde_json::json!([]), &false.into()));

    let output = coord(&["inspect", "/nowhere/at all.sqlite"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("/nowhere/at all.sqlite"), "{}", stderr(&output));
}

/// What keeps a database from being opened is said by who looks at it, and a dry run ends as the run itself would.
#[test]
fn what_could_not_be_opened_is_said_before_it_is_tried() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("garbage"), [7; 4096]).unwrap();
    let mut header = [0; 4096];
    header[..16].copy_from_slice(b"SQLite format 3\0");
    rusqlite::Connection::open(at("hot")).unwrap().execute_batch("CREATE TABLE t(a)").unwrap();
    std::fs::write(at("hot-journal"), [0xd9; 512]).unwrap();
    header[18..20].fill(2);
    std::fs::write(at("wal"), header).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    std::fs::write(at("linked"), "").unwrap();
    std::os::unix::fs::symlink("elsewhere", at("linked.readers")).unwrap();
    for (name, words, opens) in [
        ("garbage", "does not begin like a SQLite database", false),
        ("hot", "hot-journal is hot", true),
        ("wal", "is in WAL mode", false),
        ("fifo", "is not a regular file", false),
        ("linked", "is a symbolic link", false),
    ] {
        let database = at(name);
        let database = database.to_str().unwrap();
        let output = coord(&["inspect", database]);
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert!(stdout(&output).contains(words), "{}", stdout(&output));
        let json: serde_json::Value = serde_json::from_slice(&coord(&["inspect", "--json", database]).stdout).unwrap();
        assert!(json["remarks"][0].as_str().is_some_and(|text| text.contains(words)), "{json}");
        assert_eq!(json["needs_attention"], true, "{json}");
        if name == "linked" {
            continue;
        }
        std::fs::create_dir(at(&format!("{name}.readers"))).unwrap();
        let output = coord(&["detach", "--dry-run", database]);
        match opens {
            true => assert!(stdout(&output).contains("would be rolled back"), "{}", stdout(&output)),
            false => assert!(stderr(&output).contains(words), "{}", stderr(&output)),
        }
        assert_eq!(output.status.code(), Some(if opens { 0 } else { 2 }), "{name}");
        assert_eq!(coord(&["detach", database]).status.code().is_some_and(|code| code == 2), !opens, "{name}");
    }
}

/// Somebody may have died while he replaced the database.
#[test]
fn inspect_shows_the_names_beside_a_database_that_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("gone.sqlite");
    let registry = dir.path().join("gone.sqlite.readers");
    std::fs::create_dir(&registry).unwrap();
    // The second stands for programs of which nothing is known.
    for node in ["left-33-0000000000000001", "right-0-0000000000000002"] {
        std::fs::write(registry.join(format!("reader.{node}.1")), "").unwrap();
    }
    let output = coord(&["inspect", database.to_str().unwrap()]);
    let said = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(said.contains("left pid 33") && said.contains("programs on the server that began before"), "{said}");
    assert!(!said.contains("pid 0"), "{said}");
    // Of these one is the database.
    std::fs::write(registry.join("aside.left-33-0000000000000001.7.database"), "").unwrap();
    let said = ["a takeover is in progress or broke off", "gone.sqlite is not there"];
    for args in [&["inspect"][..], &["inspect", "--json"]] {
        let output = coord(&[args, &[database.to_str().unwrap()]].concat());
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        said.iter().for_each(|words| assert!(stdout(&output).contains(words), "{words}: {}", stdout(&output)));
    }
}

#[test]
fn wrong_usage_is_told_and_has_its_own_status() {
    for args in [
        &["frob"][..],
        &["demo", "--frob"],
        &["demo", "--seconds", "0"],
        &["inspect"],
        &["bench", "--json", "--markdown"],
        &[],
    ] {
        let output = coord(args);
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(2), ""), "{args:?}");
        assert!(stderr(&output).starts_with("coord: "), "{args:?}");
    }
    for args in [&["--help"][..], &["--version"], &["help", "demo"], &["help", "inspect"], &["demo", "--help"]] {
        let output = coord(args);
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""), "{args:?}");
        assert!(stdout(&output).contains("coord"), "{args:?}");
    }
}

/// `coord help demo | true`: no panic, no complaint.
#[test]
fn a_closed_stdout_is_no_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_coord"));
    let child = command.args(["help", "demo"]).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
}

/// The last part of a whole run, which takes minutes: what it needs must be right without that.
#[test]
fn the_footprint_of_many_databases_is_measured() {
    let dir = tempfile::tempdir().unwrap();
    let output = coord(&["bench", "--workloads", "footprint", "--json", "--dir", dir.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(json["footprint"].is_object() || json["footprint"].is_array(), "{json:#}");
}

/// A kept read asks nothing of the filesystem, a kept write less than SQLite's own: counted, where each request is a message.
#[test]
fn requests_to_a_fuse_filesystem_are_counted() {
    if !common::have("/usr/bin/bindfs") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().to_str().expect("a temporary directory is UTF-8");
    let output = coord(&["bench", "--workloads", "requests", "--json", "--dir", text]);
    let report: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)));
    let requests = &report["requests"];
    if let Some(why) = requests["missing"].as_str() {
        common::skip(why);
        return;
    }
    let of = |configuration: &str, what: &str| -> f64 {
        let all = requests["results"].as_array().expect("an array");
        let one = all.iter().find(|one| one["configuration"] == configuration).unwrap_or_else(|| panic!("{report:#}"));
        one[what].as_object().expect("an object").values().filter_map(serde_json::Value::as_f64).sum()
    };
    assert!(of("coord", "read") < 0.5 && of("unix", "read") >= 1.0, "{requests:#}");
    assert!(of("coord", "write") < of("unix", "write") && of("coord", "write") > 10.0, "{requests:#}");
    assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none(), "something was left behind");
}
