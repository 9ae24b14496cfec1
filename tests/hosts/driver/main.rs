//! A host program that tests script step by step: `driver [NAME=PATH]...`, each PATH a shared object of `copy.rs`.
//!
//! One request a line: fields separated by tabs, in which tab, newline and backslash are `\t`, `\n`, `\\`. The first
//! field is the command, with `NAME:` before it to speak to another copy of SQLite than the first. One answer a
//! request, flushed at once: any number of lines `=` FIELD..., then `ok` [FIELD] or `error` CODE MESSAGE, then `.`.
//! NULL is written `\0`. `tests/common/host.rs` speaks it; `driver.py` beside this folder answers a part of it.

#[path = "../api.rs"]
mod api;
mod foreign;
mod process;
mod sqlite;
mod tracing;

use sqlite::{Answer, Error, Sqlite};
use std::io::{BufRead, Write};

fn main() {
    let mut copies: Vec<(String, Sqlite)> = Vec::new();
    for arg in std::env::args().skip(1) {
        let (name, path) = arg.split_once('=').expect("arguments are NAME=PATH");
        copies.push((name.to_owned(), Sqlite::load(path)));
    }
    for line in std::io::stdin().lock().lines() {
        let fields: Vec<String> = line.expect("stdin").split('\t').map(unescape).collect();
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        let (copy, command) = match fields[0].split_once(':') {
            Some((name, command)) => (copies.iter_mut().find(|(n, _)| n == name), command),
            None => (copies.first_mut(), fields[0]),
        };
        let answer = match copy {
            Some((_, copy)) => answer(copy, command, &fields[1..]),
            None => Err(Error::usage("no such copy of SQLite")),
        };
        print(answer);
    }
}

fn answer(sqlite: &mut Sqlite, command: &str, args: &[&str]) -> Result<Answer, Error> {
    match (command, args) {
        ("version", []) => Ok(Answer::text(sqlite.version())),
        ("pid", []) => Ok(Answer::text(std::process::id().to_string())),
        ("load", [path]) => sqlite.load_extension(None, path, None),
        ("load", [path, entry]) => sqlite.load_extension(None, path, Some(entry)),
        ("load", [path, entry, name]) => sqlite.load_extension(Some(name), path, Some(entry)),
        ("open", [name, uri]) => sqlite.open(name, uri, None),
        ("open", [name, uri, vfs]) => sqlite.open(name, uri, Some(vfs)),
        ("close", [name]) => sqlite.close(name),
        ("exec", [name, sql]) => sqlite.exec(name, sql),
        ("hold", [name, sql]) => sqlite.hold(name, sql),
        ("busy", [name, ms]) => sqlite.busy(name, ms.parse().map_err(|_| Error::usage("busy NAME MS"))?),
        ("vfsname", [name]) => sqlite.vfs_name(name),
        ("vfs", []) => Ok(sqlite.vfs_list()),
        ("register-vfs", [name]) => sqlite.register_copy_of_default(name, false),
        ("register-vfs", [name, "default"]) => sqlite.register_copy_of_default(name, true),
        ("foreign-vfs", [path]) => foreign::register(sqlite.api(), path),
        ("initialize", []) => sqlite.initialize(),
        ("shutdown", []) => sqlite.shutdown(),
        ("config-mmap", [size]) => sqlite.config_mmap(size.parse().map_err(|_| Error::usage("config-mmap BYTES"))?),
        ("fork", [name, sql]) => process::fork(sqlite, name, sql, None),
        ("fork", [name, sql, uri, fresh]) => process::fork(sqlite, name, sql, Some((uri, fresh))),
        ("maps", [file]) => process::mapped(file),
        ("fds", [file]) => process::descriptors(file),
        ("trace", []) => tracing::start(sqlite.api(), false),
        ("trace", ["data"]) => tracing::start(sqlite.api(), true),
        ("log", []) => Ok(tracing::log()),
        ("trap", [op, file, nth, action]) => tracing::trap(op, file, nth, action),
        ("open-and-close", [file]) => process::open_and_close(file),
        ("use-after-free", []) => process::use_after_free(),
        ("kill", []) => process::kill(),
        ("quit", []) => std::process::exit(0),
        ("return", []) => {
            // As a program ends that forgot its connections: destructors and atexit handlers run.
            print(Ok(Answer::default()));
            unsafe { libc::exit(0) }
        }
        _ => Err(Error::usage(&format!(
            "what is {command} with {} arguments?",
            args.len()
        ))),
    }
}

fn print(answer: Result<Answer, Error>) {
    let mut out = std::io::stdout().lock();
    let (rows, last) = match answer {
        Ok(answer) => (answer.rows, format!("ok\t{}", escape(&answer.text))),
        Err(error) => (error.rows, format!("error\t{}\t{}", error.code, escape(&error.message))),
    };
    for row in rows {
        let fields: Vec<String> = row
            .iter()
            .map(|field| field.as_deref().map_or("\\0".into(), escape))
            .collect();
        writeln!(out, "=\t{}", fields.join("\t")).expect("stdout");
    }
    writeln!(out, "{last}\n.").expect("stdout");
    out.flush().expect("stdout");
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n")
}

fn unescape(field: &str) -> String {
    let mut text = String::with_capacity(field.len());
    let mut chars = field.chars();
    while let Some(c) = chars.next() {
        text.push(match c {
            '\\' => match chars.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some(other) => other,
                None => '\\',
            },
            c => c,
        });
    }
    text
}
