//! From what was found to one verdict. A pure function, so that both ends of a check with two hosts come to the same one.

use super::report::{Finding, Host, Outcome, Verdict};

pub(super) struct Concluded {
    pub verdict: Verdict,
    pub reason: String,
    pub advice: Vec<String>,
    pub not_shown: Vec<String>,
}

const RUN_PEER: &str = "run `coord check DIR --peer` on two hosts at the same time";
const OTHERS: &str = "what another host sees: who wins a race, how long it reads what it has cached, whether its late writes \
                      reach a file that was replaced";
const POWER: &str =
    "whether the server keeps what it has answered when its power fails (NFS: export with `sync`, not `async`)";
const FROZEN: &str = "what a host that was frozen or cut off for a while sends when it comes back";
const RARE: &str = "what goes wrong more rarely than once in as many rounds as were run";
const SAME_KERNEL: &str = "what two kernels see of each other: both ends ran under one kernel, which has one cache";

/// `together` is what two hosts have found with each other.
pub(super) fn conclude(hosts: &[Host], together: Option<&[Finding]>) -> Concluded {
    let same_kernel = hosts.windows(2).all(|two| !two[0].boot.is_empty() && two[0].boot == two[1].boot);
    let local = |host: &&Host| host.class == "local";
    let all_local = hosts.iter().all(|host| local(&host));
    let mut not_shown = Vec::new();
    if !all_local || !same_kernel {
        match together {
            None => not_shown.push(OTHERS.to_string()),
            Some(_) if hosts.len() < 2 => not_shown.push(OTHERS.to_string()),
            Some(_) if same_kernel => not_shown.push(SAME_KERNEL.to_string()),
            Some(_) => {}
        }
        not_shown.push(FROZEN.to_string());
        not_shown.push(POWER.to_string());
    }
    not_shown.push(RARE.to_string());
    let refused = |reason: String, advice: Vec<String>| Concluded {
        verdict: Verdict::Refused,
        reason,
        advice,
        not_shown: not_shown.clone(),
    };

    if let Some(host) = hosts.iter().find(|host| host.class == "unfit") {
        // The reason names the cure.
        return refused(of(hosts, host, &host.why), vec!["use another filesystem, as the reason says".to_string()]);
    }
    let found: Vec<(String, &Finding)> = hosts
        .iter()
        .flat_map(|host| host.findings.iter().map(|finding| (of(hosts, host, &finding.says), finding)))
        .chain(together.into_iter().flatten().map(|finding| (finding.says.clone(), finding)))
        .filter(|(_, finding)| finding.outcome == Outcome::Fails)
        .collect();
    if let Some((says, first)) = found.first() {
        let more = match found.len() {
            1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        let mut advice: Vec<String> = Vec::new();
        for text in found.iter().filter_map(|(_, finding)| finding.advice.clone()) {
            if !advice.contains(&text) {
                advice.push(text);
            }
        }
        return refused(format!("{}: {says}{more}", first.name), advice);
    }
    if all_local && !same_kernel {
        let reason = "both hosts take this for a disk of their own, yet each sees the other's names: coord would choose trusted \
                      mode, whose locks do not reach from one to the other";
        let advice = "keep no database here that both use, in no mode: what coord does for disks of one host (nothing is read past what \
                      a host has cached, files are replaced in one step) is wrong here. Report the filesystem's type";
        return refused(reason.to_string(), vec![advice.to_string()]);
    }
    if all_local {
        let advice = "nothing to do; plain SQLite and coord may use a database here side by side. Once it is shared with other \
                      hosts, check it from there";
        return Concluded {
            verdict: Verdict::Trusted,
            reason: format!("{}, and all {} steps held", hosts[0].why, steps(hosts, together)),
            advice: vec![advice.to_string()],
            not_shown,
        };
    }
    let mut advice = Vec::new();
    if together.is_none() || same_kernel {
        advice.push(RUN_PEER.to_string());
    }
    if let Some(host) = hosts.iter().find(local) {
        advice.push(format!(
            "{} takes this for its own disk and would choose trusted mode: open each database once with \
             coord_mode=network-exclusive before it is shared",
            host.host
        ));
    }
    advice.push("all programs that use a database here must use coord".to_string());
    let seen_by = match together {
        None => "one host, which cannot see what another one sees",
        Some(_) if same_kernel => "two processes of one kernel",
        Some(_) => "two hosts with each other",
    };
    let shared = hosts.iter().find(|host| !local(host)).unwrap_or(&hosts[0]);
    Concluded {
        verdict: Verdict::NetworkExclusive,
        reason: format!("{}; all {} steps held, by {seen_by}", shared.why, steps(hosts, together)),
        advice,
        not_shown,
    }
}

fn steps(hosts: &[Host], together: Option<&[Finding]>) -> usize {
    hosts.iter().map(|host| host.findings.len()).sum::<usize>() + together.map_or(0, <[Finding]>::len)
}

/// With the host's name before it where there are two.
fn of(hosts: &[Host], host: &Host, says: &str) -> String {
    if hosts.len() > 1 { format!("on {} {says}", host.host) } else { says.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(class: &str, boot: &str, outcome: Outcome) -> Host {
        let advice = (outcome == Outcome::Fails).then(|| "mount it otherwise".to_string());
        let finding = Finding { name: "mkdir".into(), outcome, says: "two won".into(), advice };
        Host {
            host: format!("host-{boot}"),
            pid: 1,
            user: String::new(),
            boot: boot.into(),
            filesystem: "x".into(),
            class: class.into(),
            why: "x is so".into(),
            findings: vec![finding],
            latency: vec![],
        }
    }

    #[test]
    fn one_host_on_a_disk_is_trusted_and_on_a_share_is_told_to_find_another() {
        let disk = conclude(&[host("local", "a", Outcome::Holds)], None);
        assert_eq!((disk.verdict, disk.not_shown.len()), (Verdict::Trusted, 1));
        let share = conclude(&[host("shared", "a", Outcome::Note)], None);
        assert_eq!(share.verdict, Verdict::NetworkExclusive);
        assert!(share.advice[0].contains("--peer") && share.not_shown[0].contains("another host"));
        assert!(share.reason.contains("one host, which cannot see"), "{}", share.reason);
    }

    #[test]
    fn one_failure_anywhere_refuses_and_an_unfit_type_does_by_itself() {
        for hosts in [
            vec![host("shared", "a", Outcome::Holds), host("shared", "b", Outcome::Fails)],
            vec![host("local", "a", Outcome::Fails)],
        ] {
            let refused = conclude(&hosts, Some(&[]));
            assert_eq!((refused.verdict, refused.advice), (Verdict::Refused, vec!["mount it otherwise".to_string()]));
            assert!(refused.reason.contains("mkdir") && refused.reason.contains("two won"));
        }
        assert_eq!(conclude(&[host("unfit", "a", Outcome::Holds)], None).verdict, Verdict::Refused);
    }

    #[test]
    fn two_kernels_with_one_local_disk_are_refused() {
        let (a, b) = (host("local", "a", Outcome::Holds), host("local", "b", Outcome::Holds));
        let refused = conclude(&[a.clone(), b], Some(&[]));
        assert_eq!(refused.verdict, Verdict::Refused);
        assert!(refused.advice[0].contains("in no mode"));
        assert_eq!(conclude(&[a.clone(), a], Some(&[])).verdict, Verdict::Trusted);
    }

    #[test]
    fn two_ends_under_one_kernel_have_not_shown_what_two_hosts_see() {
        let (a, b) = (host("shared", "a", Outcome::Holds), host("shared", "b", Outcome::Holds));
        let same = conclude(&[a.clone(), a.clone()], Some(&[]));
        assert!(same.not_shown[0].contains("one kernel") && same.advice[0].contains("--peer"));
        let two = conclude(&[a, b], Some(&[]));
        assert!(!two.not_shown.iter().any(|text| text.contains("kernel")) && !two.advice[0].contains("--peer"));
    }

    #[test]
    fn the_servers_own_disk_beside_a_client_is_told_which_mode_to_set() {
        let mixed = [host("local", "a", Outcome::Holds), host("shared", "b", Outcome::Holds)];
        let told = conclude(&mixed, Some(&[]));
        assert_eq!(told.verdict, Verdict::NetworkExclusive);
        assert!(told.advice[0].contains("host-a takes this for its own disk"), "{:?}", told.advice);
    }
}
