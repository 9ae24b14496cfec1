//! The processes of one run of a workload: started, made ready, let go together, and asked what they saw.

use super::worker::Report;
use super::workload::{Turn, Workload};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

/// One run of a workload in one configuration.
pub struct Run {
    /// Of each process, in the order of the crew.
    pub reports: Vec<(Turn, Report)>,
}

/// A process that was started and says lines; it is killed and waited for wherever it is dropped.
pub struct Process {
    child: Child,
    says: BufReader<std::process::ChildStdout>,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    pub fn start(mut command: Command) -> Result<Process, String> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("cannot start a process: {error}"))?;
        let says = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        Ok(Process { child, says })
    }

    /// The next line that it says, without its end; empty if it is gone.
    pub fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        self.says.read_line(&mut line).map_err(|error| format!("cannot hear a process: {error}"))?;
        Ok(line.trim().to_string())
    }

    /// Waits until it says `word`.
    pub fn until(&mut self, word: &str) -> Result<(), String> {
        match self.line()? {
            line if line == word => Ok(()),
            other => Err(format!("a process said {other:?}, not {word:?}")),
        }
    }

    pub fn go(&mut self) -> Result<(), String> {
        let stdin = self.child.stdin.as_mut().ok_or("no stdin")?;
        stdin.write_all(b"go\n").map_err(|error| format!("a process is gone: {error}"))
    }

    /// Waits for its end.
    pub fn end(mut self) -> Result<(), String> {
        let ended = self.child.wait().map_err(|error| format!("cannot wait for a process: {error}"))?;
        if ended.success() { Ok(()) } else { Err(format!("a process ended with {ended}")) }
    }
}

/// The command line of a process. `rest` is what its kind of run needs.
pub fn command(uri: &str, turn: Turn, synchronous: &str, own: u32, rest: &[String]) -> Result<Command, String> {
    let program = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let mut command = Command::new(program);
    command.args(["bench-worker", "--turn", turn.word(), "--synchronous", synchronous]);
    command.args(["--own", &own.to_string(), "--uri", uri]).args(rest);
    Ok(command)
}

pub fn run(uri: &str, workload: &Workload, millis: u32) -> Result<Run, String> {
    let mut processes = Vec::new();
    for (turn, count) in workload.crew {
        for _ in 0..*count {
            let own = processes.len() as u32;
            let rest = ["--millis".to_string(), millis.to_string()];
            processes.push((*turn, Process::start(command(uri, *turn, workload.synchronous, own, &rest)?)?));
        }
    }
    for (_, process) in &mut processes {
        process.until("ready")?;
    }
    for (_, process) in &mut processes {
        process.go()?;
    }
    let mut reports = Vec::new();
    for (turn, process) in &mut processes {
        let said = process.line()?;
        let report = serde_json::from_str(&said).map_err(|error| format!("a process said {said:?}: {error}"))?;
        reports.push((*turn, report));
    }
    for (_, process) in processes {
        process.end()?;
    }
    Ok(Run { reports })
}
