//! A failing run made smaller: fewer tasks, fewer transactions, fewer changes of turn, and only those events without which it
//! does not fail.

use super::run::{Outcome, Plan, Workload, run};
use super::weather::{Broken, Profile};

/// Runs that one shrinking may take.
const TRIES: u32 = 1500;

/// A plan that fails in the same way, and is no larger.
pub fn shrink(plan: &Plan) -> Plan {
    let mut search = Search { best: plan.clone(), failure: String::new(), tries: 0 };
    let Some(first) = run(plan).violations.first().map(|text| kind(text)) else { return plan.clone() };
    search.failure = first;
    // All events that there are, as a list from which some can be left out.
    search
        .fails(|plan, outcome| plan.only = Some(outcome.events.iter().map(|event| (event.task, event.step)).collect()));
    loop {
        let before = search.tries;
        let mut smaller = false;
        for task in 0..run(&search.best).tasks {
            smaller |= !search.best.idle.contains(&task) && search.fails(|plan, _| plan.idle.extend([task]));
        }
        for transactions in [1, 2, 3] {
            smaller |=
                transactions < search.best.transactions && search.fails(|plan, _| plan.transactions = transactions);
        }
        for stays in [30, 1000] {
            smaller |= stays > search.best.stays && search.fails(|plan, _| plan.stays = stays);
        }
        smaller |= search.drop_events();
        if !smaller || search.tries == before || search.tries >= TRIES {
            return search.best;
        }
    }
}

struct Search {
    best: Plan,
    failure: String,
    tries: u32,
}

impl Search {
    /// Whether the changed plan still fails as before; then it is the best from now on.
    fn fails(&mut self, change: impl FnOnce(&mut Plan, &Outcome)) -> bool {
        if self.tries >= TRIES {
            return false;
        }
        self.tries += 1;
        let mut plan = self.best.clone();
        if plan.only.is_none() {
            let outcome = run(&plan);
            change(&mut plan, &outcome);
        } else {
            change(&mut plan, &Outcome::default());
        }
        let same = run(&plan).violations.iter().any(|text| kind(text) == self.failure);
        if same {
            self.best = plan;
        }
        same
    }

    /// Leaves out halves, quarters and so on down to single events.
    fn drop_events(&mut self) -> bool {
        let mut smaller = false;
        let mut size = self.events().len().div_ceil(2);
        while size > 0 {
            for part in self.events().chunks(size) {
                smaller |= self.fails(|plan, _| {
                    if let Some(only) = &mut plan.only {
                        only.retain(|event| !part.contains(event));
                    }
                });
            }
            size = if size == 1 { 0 } else { size.div_ceil(2) };
        }
        smaller
    }

    fn events(&self) -> Vec<(usize, u64)> {
        self.best.only.iter().flatten().copied().collect()
    }
}

/// What kind of failure a sentence tells of: without its numbers and names.
fn kind(text: &str) -> String {
    let words: Vec<&str> =
        text.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| word.len() > 2).take(6).collect();
    let named = text.split(':').next().filter(|head| head.len() == 2);
    named.map_or_else(|| words.join(" "), str::to_string)
}

/// The command that plays a plan again, with its trace.
pub fn command(plan: &Plan) -> String {
    let mut text = String::new();
    if let Some(guard) = plan.without {
        text += &format!("COORD_TEST_WITHOUT={} ", guard.word());
    }
    // Guards can be taken out of a debug build only.
    let release = if plan.without.is_some() { "" } else { " --release" };
    text += &format!("cargo run{release} --example simulate -- --seed {}", plan.seed);
    match plan.workload {
        Workload::Pager => {}
        Workload::Sqlite => text += " --workload sqlite",
        Workload::Trusted => text += " --workload trusted",
        Workload::Change => text += " --workload change",
        Workload::Share => text += " --workload share",
    }
    if let Some(profile) = plan.profile {
        text += &format!(" --profile {}", profile.word());
    }
    if let Some(broken) = plan.broken {
        text += &format!(" --broken {broken:?}");
    }
    let plain = Plan::of(plan.seed);
    if plan.stormy != plain.stormy {
        text += &format!(" --stormy {}", plan.stormy);
    }
    if plan.siege {
        text += " --siege true";
    }
    if plan.bad_disk {
        text += " --bad-disk true";
    }
    if plan.parts {
        text += " --parts true";
    }
    if plan.household {
        text += " --household true";
    }
    if plan.stays != plain.stays {
        text += &format!(" --stays {}", plan.stays);
    }
    if plan.transactions != plain.transactions {
        text += &format!(" --transactions {}", plan.transactions);
    }
    if !plan.idle.is_empty() {
        text += &format!(" --idle {}", join(plan.idle.iter().map(usize::to_string)));
    }
    if let Some(only) = &plan.only {
        text += &format!(" --events {}", join(only.iter().map(|(task, step)| format!("{task}:{step}"))));
    }
    text
}

fn join(parts: impl Iterator<Item = String>) -> String {
    let text = parts.collect::<Vec<_>>().join(",");
    if text.is_empty() { "none".to_string() } else { text }
}

/// Sets what one argument of [`command`] says; false if there is no such argument.
///
/// # Errors
/// The value is not what it takes.
pub fn set(plan: &mut Plan, name: &str, value: &str) -> Result<bool, String> {
    set_one(plan, name, value).ok_or_else(|| format!("{name} {value}: not what it takes"))
}

fn set_one(plan: &mut Plan, name: &str, value: &str) -> Option<bool> {
    let parts = || value.split(',').filter(|part| *part != "none");
    let event =
        |part: &str| part.split_once(':').and_then(|(task, step)| Some((task.parse().ok()?, step.parse().ok()?)));
    match name {
        "--profile" if value == "all" => plan.profile = None,
        "--profile" => plan.profile = Some(Profile::named(value)?),
        "--workload" if value == "pager" => plan.workload = Workload::Pager,
        "--workload" if value == "sqlite" => plan.workload = Workload::Sqlite,
        "--workload" if value == "trusted" => plan.workload = Workload::Trusted,
        "--workload" if value == "change" => plan.workload = Workload::Change,
        "--workload" if value == "share" => plan.workload = Workload::Share,
        "--workload" => return None,
        "--broken" => plan.broken = Some(Broken::named(value)?),
        "--stormy" => plan.stormy = value.parse().ok()?,
        "--siege" => plan.siege = value.parse().ok()?,
        "--bad-disk" => plan.bad_disk = value.parse().ok()?,
        "--parts" => plan.parts = value.parse().ok()?,
        "--household" => plan.household = value.parse().ok()?,
        "--stays" => plan.stays = value.parse().ok()?,
        "--transactions" => plan.transactions = value.parse().ok()?,
        "--idle" => plan.idle = parts().map(|part| part.parse().ok()).collect::<Option<_>>()?,
        "--events" => plan.only = Some(parts().map(event).collect::<Option<_>>()?),
        _ => return Some(false),
    }
    Some(true)
}
