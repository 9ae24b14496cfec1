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

struct Process {
    turn: Turn,
    child: Child,
    says: BufReader<std::process::ChildStdout>,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
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
            let mut command = command(uri, *turn, workload.synchronous, own, &rest)?;
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = command.spawn().map_err(|error| format!("cannot start a process: {error}"))?;
            let says = BufReader::new(child.stdout.take().ok_or("no stdout")?);
            processes.push(Process { turn: *turn, child, says });
        }
    }
    for process in &mut processes {
        if line(process)?.trim() != "ready" {
            return Err(format!("a process of {} did not get ready", workload.name));
        }
    }
    for process in &mut processes {
        let stdin = process.child.stdin.as_mut().ok_or("no stdin")?;
        stdin.write_all(b"go\n").map_err(|error| format!("a process is gone: {error}"))?;
    }
    let mut reports = Vec::new();
    for process in &mut processes {
        let said = line(process)?;
        let report = serde_json::from_str(&said)
            .map_err(|error| format!("a process of {} said {said:?}: {error}", workload.name))?;
        reports.push((process.turn, report));
    }
    for process in &mut processes {
        let ended = process.child.wait().map_err(|error| format!("cannot wait for a process: {error}"))?;
        if !ended.success() {
            return Err(format!("a process of {} ended with {ended}", workload.name));
        }
    }
    Ok(Run { reports })
}

fn line(process: &mut Process) -> Result<String, String> {
    let mut line = String::new();
    process.says.read_line(&mut line).map_err(|error| format!("cannot hear a process: {error}"))?;
    Ok(line)
}
