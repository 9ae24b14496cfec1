//! `coord check` as a user runs it: verdicts and exit statuses, the JSON, two ends in one directory, and that nothing is left
//! behind by whatever ends it. What the steps find is tested beside them, in src/check/tests.

mod common;

use common::{SOON, dir, run, skip, until};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

fn coord(arguments: &[&str], dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coord"));
    command.arg("check").args(arguments).arg(dir);
    command
}

fn shared(mut command: Command) -> Command {
    command.env("COORD_TEST_SHARED", "1");
    command
}

/// True in builds that can pretend a shared filesystem.
fn pretends() -> bool {
    if !cfg!(debug_assertions) {
        skip("a release build cannot pretend a shared filesystem");
    }
    cfg!(debug_assertions)
}

fn names(dir: &Path) -> Vec<String> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// What a check with `--json` says, and its exit status.
fn report(command: &mut Command) -> (Option<i32>, Value) {
    let ran = run(command, 2 * SOON);
    let json = serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {}{}", ran.out, ran.err));
    (ran.status.code(), json)
}

/// Every field that programs may rest on, with its type.
fn has_the_documented_form(report: &Value) {
    for text in ["path", "coord_version", "date", "verdict", "reason"] {
        assert!(report[text].as_str().is_some_and(|text| !text.is_empty()), "{text}: {report:#}");
    }
    assert!(report["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0));
    for list in ["advice", "not_shown", "notes"] {
        assert!(report[list].as_array().unwrap().iter().all(Value::is_string), "{list}");
    }
    for host in report["hosts"].as_array().unwrap() {
        for text in ["host", "user", "boot", "filesystem", "class", "why"] {
            assert!(host[text].is_string(), "{text}: {host:#}");
        }
        assert!(["local", "shared", "unfit"].contains(&host["class"].as_str().unwrap()));
        host["findings"].as_array().unwrap().iter().for_each(is_a_finding);
        for latency in host["latency"].as_array().unwrap() {
            assert!(latency["operation"].is_string() && latency["samples"].as_u64().is_some_and(|count| count > 0));
            assert!(latency["median_us"].as_u64().unwrap() <= latency["worst_us"].as_u64().unwrap());
        }
        assert!(host["latency"].as_array().is_some_and(|all| all.iter().any(|one| one["operation"] == "mkdir")));
    }
    match &report["together"] {
        Value::Null => assert_eq!(report["hosts"].as_array().unwrap().len(), 1),
        together => together.as_array().unwrap().iter().for_each(is_a_finding),
    }
}

fn is_a_finding(finding: &Value) {
    assert!(finding["name"].is_string() && finding["says"].is_string(), "{finding:#}");
    assert!(["holds", "fails", "note"].contains(&finding["outcome"].as_str().unwrap()), "{finding:#}");
    assert_eq!(finding["advice"].is_string(), finding["outcome"] == "fails", "{finding:#}");
}

/// A disk of this host is for trusted mode, and the directory is afterwards as it was before.
#[test]
fn a_local_directory_is_trusted_safe() {
    let dir = dir();
    fs::write(dir.path().join("state.sqlite"), "as it was").unwrap();
    let (status, json) = report(&mut coord(&["--json"], dir.path()));
    if json["hosts"][0]["class"] != "local" {
        return skip("the directory for tests is not on a local filesystem");
    }
    has_the_documented_form(&json);
    assert_eq!((status, json["verdict"].as_str()), (Some(3), Some("trusted safe")), "{json:#}");
    assert_eq!(names(dir.path()), ["state.sqlite"]);
    assert_eq!(fs::read(dir.path().join("state.sqlite")).unwrap(), b"as it was");
}

/// One host alone says what it has not shown, and how that can be had.
#[test]
fn a_shared_directory_is_network_exclusive_safe_as_far_as_one_host_can_see() {
    if !pretends() {
        return;
    }
    let dir = dir();
    let (status, json) = report(&mut shared(coord(&["--json"], dir.path())));
    has_the_documented_form(&json);
    assert_eq!((status, json["verdict"].as_str()), (Some(0), Some("network-exclusive safe")), "{json:#}");
    assert!(json["not_shown"][0].as_str().unwrap().contains("another host"), "{json:#}");
    assert!(json["advice"][0].as_str().unwrap().contains("--peer"), "{json:#}");
    let screen = run(&mut shared(coord(&[], dir.path())), SOON).ok();
    for word in
        ["VERDICT: network-exclusive safe", "ok     mkdir: one wins", "rename  ", "unknown  what another host sees"]
    {
        assert!(screen.contains(word), "{word}: {screen}");
    }
    assert_eq!(names(dir.path()), [""; 0]);
}

/// What the check says of a filesystem's type is what the shim goes by: one reason, word for word.
#[test]
fn an_unfit_filesystem_is_refused_by_the_check_and_by_the_shim_for_one_reason() {
    if !pretends() {
        return;
    }
    let dir = dir();
    let (status, json) = report(coord(&["--json"], dir.path()).env("COORD_TEST_SHARED", "unfit"));
    assert_eq!((status, json["verdict"].as_str()), (Some(1), Some("refused")), "{json:#}");
    let why = json["hosts"][0]["why"].as_str().unwrap();
    assert_eq!(json["reason"].as_str(), Some(why));
    if !common::have("/usr/bin/sqlite3") {
        return;
    }
    let (extension, database) = (common::extension(), dir.path().join("state.sqlite"));
    let script = format!(
        "/usr/bin/sqlite3 :memory: <<END\n.load {}\nATTACH 'file:{}?vfs=coord' AS other;\nSELECT coord_last_error();\nEND",
        extension.display(),
        database.display()
    );
    let mut shell = Command::new("sh");
    shell.env("COORD_TEST_SHARED", "unfit").args(["-c", &script]);
    let refused = run(&mut shell, SOON);
    assert!(refused.out.contains(why), "{why}: {}{}", refused.out, refused.err);
}

/// Two processes find each other, tell what they do, and come to one verdict; that they share a kernel is told.
#[test]
fn two_ends_find_each_other_and_agree() {
    if !pretends() {
        return;
    }
    let dir = dir();
    let check = || shared(coord(&["--peer", "--json", "--rounds=8"], dir.path()));
    let (one, other) = std::thread::scope(|scope| {
        let one = scope.spawn(|| run(&mut check(), 2 * SOON));
        let other = scope.spawn(|| run(&mut check(), 2 * SOON));
        (one.join().unwrap(), other.join().unwrap())
    });
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let (a, b) = (parse(&one.out), parse(&other.out));
    assert_eq!((one.status.code(), other.status.code()), (Some(0), Some(0)), "{a:#}\n{b:#}");
    for same in ["verdict", "reason", "advice", "not_shown", "hosts", "together"] {
        assert_eq!(a[same], b[same], "{same}");
    }
    has_the_documented_form(&a);
    assert_eq!((a["hosts"].as_array().unwrap().len(), a["together"].as_array().unwrap().len()), (2, 10));
    assert!(a["not_shown"][0].as_str().unwrap().contains("one kernel"), "{a:#}");
    for line in ["waiting for the other host", "together: mkdir: one wins", "together: late writes to a replaced file"]
    {
        assert!(one.err.contains(line), "{line}: {}", one.err);
    }
    assert_eq!(names(dir.path()), [""; 0]);
}

/// No verdict where nothing can be checked: a sentence, its own status, nothing left.
#[test]
fn what_cannot_be_checked_has_its_own_status_and_says_why() {
    let dir = dir();
    let file = dir.path().join("state.sqlite");
    fs::write(&file, "").unwrap();
    for (path, word) in [(dir.path().join("no such"), "no such"), (file, "not a directory")] {
        let ran = run(&mut coord(&["--json"], &path), SOON);
        assert_eq!(ran.status.code(), Some(2), "{}", ran.err);
        assert!(ran.err.starts_with("coord: cannot check") && ran.err.contains(word), "{}", ran.err);
        let json: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(json.as_object().map(serde_json::Map::len), Some(1), "no verdict");
        assert_eq!(json["error"].as_str(), ran.err.strip_prefix("coord: ").map(str::trim_end));
    }
    let ran = run(&mut coord(&["--peer", "--wait=1"], dir.path()), SOON);
    assert_eq!(ran.status.code(), Some(2));
    assert!(ran.err.contains("no other check showed itself"), "{}", ran.err);
    assert_eq!(names(dir.path()), ["state.sqlite"]);
}

/// Mounted until it is dropped.
struct Mount<'a>(&'a Path);

impl Mount<'_> {
    fn tmpfs<'a>(at: &'a Path, options: &str) -> Option<Mount<'a>> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "none"]).arg(at).output();
        if !mounted.is_ok_and(|mounted| mounted.status.success()) {
            skip("this user may not mount a tmpfs");
            return None;
        }
        Some(Mount(at))
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_read_only_directory_and_a_full_disk_are_told_and_left_clean() {
    for (options, word) in
        [("ro", "must be able to write"), ("nr_inodes=4", "space"), ("nr_inodes=100", "space"), ("size=8k", "space")]
    {
        let dir = dir();
        let Some(_mount) = Mount::tmpfs(dir.path(), options) else { return };
        let ran = run(&mut coord(&[], dir.path()), SOON);
        assert_eq!((ran.status.code(), ran.out.as_str()), (Some(2), ""), "{options}: {}", ran.err);
        assert!(ran.err.contains(word), "{options}: {}", ran.err);
        assert_eq!(names(dir.path()), [""; 0], "{options}");
    }
}

/// A check that waits for its peer, with its directory there.
fn waiting(dir: &Path) -> Child {
    let child = coord(&["--peer", "--json"], dir).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let beats = |name: &String| {
        name.starts_with("coord-check-peer.") && names(&dir.join(name)).iter().any(|name| name.starts_with("beat."))
    };
    until("the check's directory", || names(dir).iter().any(beats));
    child
}

fn signal(child: &Child, signal: i32) {
    // SAFETY: a plain call; the child has not been waited for, so the pid is its own.
    unsafe { libc::kill(child.id() as i32, signal) };
}

#[test]
fn interrupted_it_clears_up_and_has_its_own_status() {
    for by in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        let dir = dir();
        let child = waiting(dir.path());
        signal(&child, by);
        let ended = child.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(130), "{err}");
        assert!(err.contains("interrupted"), "{err}");
        let json: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
        assert!(json["error"].as_str().unwrap().starts_with("interrupted; "), "{json}");
        assert_eq!(names(dir.path()), [""; 0]);
    }
}

/// It does not say that all is removed where something stays.
#[test]
fn interrupted_it_names_what_could_not_be_removed() {
    let dir = dir();
    let child = waiting(dir.path());
    let check = names(dir.path()).remove(0);
    fs::write(dir.path().join(&check).join("thesis.txt"), "precious").unwrap();
    signal(&child, libc::SIGINT);
    let ended = child.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(130), "{err}");
    assert!(err.contains(&format!("{check} could not be removed")) && !err.contains("is removed"), "{err}");
    assert_eq!(fs::read(dir.path().join(check).join("thesis.txt")).unwrap(), b"precious");
}

/// The next check removes what a killed one has left, and says so.
#[test]
fn what_a_killed_check_has_left_is_removed_by_the_next() {
    let dir = dir();
    let child = waiting(dir.path());
    signal(&child, libc::SIGKILL);
    child.wait_with_output().unwrap();
    assert_eq!(names(dir.path()).len(), 1);
    let (_, json) = report(&mut coord(&["--json"], dir.path()));
    assert!(json["notes"][0].as_str().is_some_and(|note| note.starts_with("removed ")), "{json:#}");
    assert_eq!(names(dir.path()), [""; 0]);
}

/// The other end of a check that is killed in the middle is not left waiting for ever.
#[test]
fn when_the_other_end_is_killed_the_check_ends_and_leaves_only_what_the_next_one_removes() {
    let dir = dir();
    let rounds = ["--peer", "--rounds=10000", "--wait=5"];
    let start = || coord(&rounds, dir.path()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let (killed, other) = (start(), start());
    until("the two have met", || {
        let inside = |name: &String| {
            fs::read_dir(dir.path().join(name)).is_ok_and(|mut all| {
                all.any(|entry| entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("w.two-race")))
            })
        };
        names(dir.path()).iter().any(inside)
    });
    signal(&killed, libc::SIGKILL);
    killed.wait_with_output().unwrap();
    let ended = other.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(2), "{err}");
    assert!(err.contains("nothing was seen of") || err.contains("has ended the check"), "{err}");
    report(&mut coord(&["--json"], dir.path()));
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn the_help_lists_every_exit_status() {
    let help = run(Command::new(env!("CARGO_BIN_EXE_coord")).args(["help", "check"]), SOON).ok();
    for line in [
        "network-exclusive safe   0",
        "trusted safe             3",
        "refused                  1",
        "130     interrupted",
    ] {
        assert!(help.contains(line), "{line}: {help}");
    }
}
