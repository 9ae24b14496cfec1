//! Our declarations of SQLite's C interface against a real `sqlite3ext.h`.
//!
//! A field at the wrong place would call a wrong function of the user's SQLite. So every structure, field and constant of
//! `src/host/ffi.rs` is compared with what a C compiler makes of the header that libsqlite3-sys carries.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use coord::host::ffi::{CONSTANTS, LAYOUT};

/// Structures that have grown since SQLite 3.26, at their end, so that ours are shorter.
const GROWN: &[&str] = &["sqlite3_api_routines", "sqlite3_module"];

type Facts = BTreeMap<String, i64>;

/// Sizes, offsets and values as Rust has them.
fn ours() -> Facts {
    let mut facts = Facts::new();
    for structure in LAYOUT {
        facts.insert(format!("sizeof({})", structure.name), structure.size as i64);
        for (field, offset) in structure.fields {
            facts.insert(format!("{}.{field}", structure.name), *offset as i64);
        }
    }
    facts.extend(CONSTANTS.iter().map(|(name, value)| ((*name).to_owned(), i64::from(*value))));
    facts
}

/// The same as the C compiler has them.
fn theirs(dir: &Path) -> Facts {
    let mut names = String::new();
    for structure in LAYOUT {
        names += &format!("SIZE({})\n", structure.name);
        for (field, _) in structure.fields {
            names += &format!("OFFSET({}, {field})\n", structure.name);
        }
    }
    for (name, _) in CONSTANTS {
        names += &format!("VALUE({name})\n");
    }
    std::fs::write(dir.join("layout_names.h"), names).unwrap();

    let target = host_triple();
    let compiler = cc::Build::new()
        .target(&target)
        .host(&target)
        .opt_level(0)
        .cargo_metadata(false)
        .include(dir)
        .include(sqlite_headers(&target))
        .try_get_compiler()
        .expect("a C compiler");
    let program = dir.join(format!("layout{}", std::env::consts::EXE_SUFFIX));
    let mut command = compiler.to_command();
    command.current_dir(dir).arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("c/layout.c"));
    if compiler.is_like_msvc() {
        command.arg(format!("/Fe:{}", program.display()));
    } else {
        command.arg("-o").arg(&program);
    }
    output_of(&mut command);
    output_of(&mut Command::new(&program))
        .lines()
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a name and a number");
            (name.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

/// The triple of the compiler in use. The C program is run, so there is no other to compile it for.
fn host_triple() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = output_of(Command::new(rustc).arg("-vV"));
    version.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host line").to_owned()
}

/// Where libsqlite3-sys, a dependency of the tests and so already on this machine, has its headers.
fn sqlite_headers(target: &str) -> PathBuf {
    let metadata = output_of(
        Command::new(env!("CARGO"))
            .args(["metadata", "--format-version=1", "--offline", "--filter-platform", target])
            .arg("--manifest-path")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")),
    );
    let metadata: serde_json::Value = serde_json::from_str(&metadata).expect("JSON from cargo metadata");
    let manifest = metadata["packages"]
        .as_array()
        .and_then(|packages| packages.iter().find(|package| package["name"] == "libsqlite3-sys"))
        .and_then(|package| package["manifest_path"].as_str())
        .expect("libsqlite3-sys among the packages");
    Path::new(manifest).with_file_name("sqlite3")
}

fn output_of(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Every way in which `ours` is not what the header says, as a line each.
fn differences(ours: &Facts, theirs: &Facts) -> Vec<String> {
    let mut found = Vec::new();
    for (name, our) in ours {
        let grown = GROWN.iter().any(|structure| *name == format!("sizeof({structure})"));
        match theirs.get(name) {
            Some(their) if our == their || (grown && our < their) => {}
            Some(their) => found.push(format!("{name}: {our} here, {their} in SQLite")),
            None => found.push(format!("{name}: not in SQLite")),
        }
    }
    found
}

#[test]
fn declarations_agree_with_the_header() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (ours(), theirs(dir.path()));
    assert!(ours.len() > 400, "only {} facts: were the lists lost?", ours.len());
    let found = differences(&ours, &theirs);
    assert!(found.is_empty(), "{}", found.join("\n"));

    // The control: the comparison does see a wrong value, offset, size, and a name that is not there.
    for (name, wrong) in [("SQLITE_IOERR_LOCK", 1), ("sqlite3_vfs.xOpen", 8), ("sizeof(sqlite3_io_methods)", 8)] {
        let mut changed = ours.clone();
        *changed.get_mut(name).unwrap() += wrong;
        assert_eq!(differences(&changed, &theirs).len(), 1, "a wrong {name} went unseen");
    }
    for structure in GROWN {
        let mut changed = ours.clone();
        changed.insert(format!("sizeof({structure})"), 1 << 20);
        assert_eq!(differences(&changed, &theirs).len(), 1, "{structure} larger than the real one went unseen");
    }
    let mut changed = ours.clone();
    changed.insert("SQLITE_NO_SUCH_NAME".to_owned(), 0);
    assert_eq!(differences(&changed, &theirs).len(), 1);
}
