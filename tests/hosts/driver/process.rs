//! What a host does to itself as a process: fork, die, look at its mappings and descriptors.

use crate::sqlite::{Answer, Error, Sqlite};
use std::io::{Read, Write};
use std::os::fd::FromRawFd;

/// The child runs `sql` on the inherited connection and then, if asked, other SQL on a fresh one, and goes with
/// `_exit`. One row a run (`inherited` or `fresh`, code, message or first value) and one with the wait status.
pub fn fork(sqlite: &mut Sqlite, name: &str, sql: &str, fresh: Option<(&str, &str)>) -> Result<Answer, Error> {
    let mut ends = [0; 2];
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
    let child = unsafe { libc::fork() };
    if child == 0 {
        unsafe {
            // A child that hangs goes with the parent, which the test kills when the answer does not come.
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::close(ends[0]);
        }
        let mut pipe = unsafe { std::fs::File::from_raw_fd(ends[1]) };
        let mut report = |who: &str, result: Result<Answer, Error>| {
            let (code, text) = match result {
                Ok(answer) => (
                    0,
                    answer.rows.into_iter().flatten().flatten().next().unwrap_or_default(),
                ),
                Err(error) => (error.code, error.message),
            };
            let _ = writeln!(pipe, "{who}\t{code}\t{}", text.replace(['\t', '\n'], " "));
        };
        report("inherited", sqlite.exec(name, sql));
        if let Some((uri, sql)) = fresh {
            let result = sqlite.open("fresh-in-child", uri, None);
            report("fresh", result.and_then(|_| sqlite.exec("fresh-in-child", sql)));
        }
        unsafe { libc::_exit(0) }
    }
    assert!(child > 0, "fork failed");
    unsafe { libc::close(ends[1]) };
    let mut said = String::new();
    unsafe { std::fs::File::from_raw_fd(ends[0]) }
        .read_to_string(&mut said)
        .expect("the child's report");
    let mut status = 0;
    unsafe { libc::waitpid(child, &mut status, 0) };
    let mut rows: Vec<_> = said
        .lines()
        .map(|line| line.split('\t').map(|field| Some(field.to_owned())).collect())
        .collect();
    rows.push(vec![
        Some("status".to_owned()),
        Some(status.to_string()),
        Some(child.to_string()),
    ]);
    Ok(Answer {
        rows,
        text: String::new(),
    })
}

pub fn kill() -> ! {
    unsafe { libc::raise(libc::SIGKILL) };
    unreachable!("SIGKILL ends a process")
}

/// How many mappings of `file` this process has.
pub fn mapped(file: &str) -> Result<Answer, Error> {
    let maps = std::fs::read_to_string("/proc/self/maps").map_err(|e| Error::usage(&e.to_string()))?;
    Ok(Answer::text(
        maps.lines()
            .filter(|line| line.ends_with(&format!(" {file}")))
            .count()
            .to_string(),
    ))
}

/// How many descriptors this process has on `file`.
pub fn descriptors(file: &str) -> Result<Answer, Error> {
    let entries = std::fs::read_dir("/proc/self/fd").map_err(|e| Error::usage(&e.to_string()))?;
    let links = entries
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok());
    Ok(Answer::text(
        links
            .filter(|link| link == std::path::Path::new(file))
            .count()
            .to_string(),
    ))
}

/// What POSIX makes of it: every lock of this process on the file is gone.
pub fn open_and_close(file: &str) -> Result<Answer, Error> {
    match std::fs::File::open(file) {
        Ok(_) => Ok(Answer::default()),
        Err(error) => Err(Error::usage(&error.to_string())),
    }
}

/// What a checker of memory must report.
pub fn use_after_free() -> Result<Answer, Error> {
    unsafe {
        let block = libc::malloc(16).cast::<u8>();
        block.write_bytes(1, 16);
        libc::free(block.cast());
        Ok(Answer::text(std::ptr::read_volatile(block.add(3)).to_string()))
    }
}
