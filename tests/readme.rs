//! README.md is what users type, so it is run: each block marked `<!-- run -->`, in one directory, in the order of the text,
//! and what a block marked `<!-- prints -->` shows must come out.

mod common;

use common::{SOON, dir, extension, have, run, skip};
use std::path::Path;
use std::process::Command;

const README: &str = include_str!("../README.md");
const SQLITE3: &str = "/usr/bin/sqlite3";
const PYTHON: &str = "/usr/bin/python3";

/// A code block with the mark above it.
struct Block {
    mark: String,
    language: String,
    code: String,
}

fn blocks(text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let mark = line.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->"));
        let Some(mark @ ("run" | "prints")) = mark else { continue };
        let fence = lines.next().and_then(|fence| fence.strip_prefix("```"));
        let language = fence.unwrap_or_else(|| panic!("no code block below {line}")).to_owned();
        let code: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        found.push(Block { mark: mark.to_owned(), language, code: code.join("\n") + "\n" });
    }
    found
}

/// A shell or Python as a user has it after `export COORD=…`, with the command `coord` within reach.
fn typed(language: &str, code: &str, folder: &Path) -> Command {
    let mut command = match language {
        "bash" => Command::new("bash"),
        "python" => Command::new(PYTHON),
        other => panic!("nobody runs {other}"),
    };
    let coord = Path::new(env!("CARGO_BIN_EXE_coord")).parent().expect("it lies in a folder");
    let path = std::env::var("PATH").unwrap_or_default();
    command.arg("-c").arg(code).current_dir(folder).env("HOME", folder).env("COORD", extension());
    command.env("PATH", format!("{}:{path}", coord.display()));
    command
}

fn python_loads_extensions() -> bool {
    let code = "import sqlite3; sqlite3.connect(':memory:').enable_load_extension(True)";
    let there = have(PYTHON);
    if there && !run(Command::new(PYTHON).args(["-c", code]), SOON).status.success() {
        skip(&format!("{PYTHON} cannot load extensions"));
        return false;
    }
    there
}

#[test]
fn its_examples_do_what_it_says() {
    for line in ["export COORD=$PWD/target/release/libcoord.so\n", "export PATH=$PWD/target/release:$PATH "] {
        assert!(README.contains(line), "what `typed` sets a user does not: {line}");
    }
    if !have(SQLITE3) || !python_loads_extensions() {
        return;
    }
    let dir = dir();
    let mut printed = None;
    let (mut ran, mut compared) = (0, 0);
    for block in blocks(README) {
        if block.mark == "run" {
            printed = Some(run(&mut typed(&block.language, &block.code, dir.path()), SOON).ok());
            ran += 1;
        } else {
            assert_eq!(printed.take().as_deref(), Some(block.code.as_str()), "after {ran} blocks");
            compared += 1;
        }
    }
    assert!(ran >= 6 && compared >= 6, "the marks in README.md are gone: {ran} run, {compared} compared");
}

/// A troubleshooting table is of no use if the sentences in it are not those that are said.
#[test]
fn its_error_sentences_are_the_programs_own() {
    let mut source = String::new();
    gather(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut source);
    let table = README.split("## When it says no").nth(1).expect("the chapter is there");
    let said = table.lines().filter_map(|line| line.strip_prefix("| `coord: ")?.split_once("` |"));
    let mut count = 0;
    for (sentence, _) in said {
        for part in sentence.split('…').map(str::trim).filter(|part| part.len() > 3) {
            assert!(source.contains(part.trim_matches(['(', ')', ';', ',', ' '])), "nobody says {part:?}");
        }
        count += 1;
    }
    assert!(count >= 15, "the table of sentences is gone: {count}");
}

/// All sources below `folder`, with the line breaks inside texts undone.
fn gather(folder: &Path, source: &mut String) {
    for entry in std::fs::read_dir(folder).expect("src can be read") {
        let path = entry.expect("src can be read").path();
        if path.is_dir() {
            gather(&path, source);
        } else {
            let text = std::fs::read_to_string(&path).expect("a source is text");
            let mut parts = text.split("\\\n");
            source.push_str(parts.next().unwrap_or_default());
            parts.for_each(|part| source.push_str(part.trim_start()));
        }
    }
}
