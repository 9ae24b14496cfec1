//! Cutting a recorded workload everywhere, and counting what comes of it.

use crate::common::Rng;
use crate::disk::{Disk, Image, Lie, Luck};
use crate::record::{Recorded, Row, Way, record_recovery};
use crate::reopen::{Reopener, Verdict, judge, put_down};
use std::ops::RangeInclusive;

/// What came of the cuts of one row: each entry tells where.
#[derive(Debug, Default)]
pub struct Tally {
    pub cuts: usize,
    /// Different ones among them.
    pub disks: usize,
    pub lost: Vec<String>,
    pub torn: Vec<String>,
    pub held: Vec<String>,
    /// Of the torn, those with each file as it was at its last sync or as it is.
    pub torn_whole: Vec<String>,
    /// Of all, those where everything was there that had been written.
    pub after_crash: Vec<String>,
}

/// Where to cut: at every so-manieth call, and always where a step ends.
const END: usize = 8;

/// `lots`: random disks at each cut, beside the extremes. `stride`: 1 for every call.
pub fn cut_everywhere(way: Way, recorded: &Recorded, lie: Option<Lie>, lots: usize, stride: usize) -> Tally {
    let mut tally = Tally::default();
    let mut reopener = Reopener::new(way);
    let (mut rng, mut point) = (Rng::seeded(1), 0);
    each_point(recorded, lie, |disk, due, left, place| {
        point += 1;
        if left > END && point % stride != 0 {
            return;
        }
        for luck in Luck::wholes().chain((0..lots).map(|lot| Luck::torn(lot + point))) {
            tally.cuts += 1;
            let found = reopener.found(&disk.cut(luck, &mut rng));
            let text = || format!("{luck:?}, {place}: {found:.300?}");
            match judge(&found, recorded, due.clone()) {
                Verdict::Right => continue,
                Verdict::Lost => tally.lost.push(text()),
                Verdict::Torn => {
                    tally.torn.push(text());
                    if matches!(luck, Luck::Whole { .. }) {
                        tally.torn_whole.push(text());
                    }
                }
                Verdict::Held => tally.held.push(text()),
            }
            if luck == Luck::CRASH {
                tally.after_crash.push(text());
            }
        }
    });
    tally.disks = reopener.disks();
    tally
}

/// As [`cut_everywhere`], of the recovery that begins with this disk; the states that are right stay the same throughout.
pub fn cut_recovery(row: Row, recorded: &Recorded, image: &Image, due: RangeInclusive<usize>) -> Tally {
    let mut tally = Tally::default();
    let (mut reopener, mut rng) = (Reopener::new(row.way), Rng::seeded(2));
    let folder = crate::common::dir();
    let folder = folder.path().join("disk");
    put_down(image, &folder);
    let step = record_recovery(row, &folder);
    let mut disk = Disk::of(image);
    for at in 0..=step.calls.len() {
        for luck in Luck::wholes().chain([Luck::torn(at)]) {
            tally.cuts += 1;
            let found = reopener.found(&disk.cut(luck, &mut rng));
            let text = || format!("{luck:?}, recovery before call {at} of {}: {found:.300?}", step.calls.len());
            match judge(&found, recorded, due.clone()) {
                Verdict::Right => {}
                Verdict::Lost => tally.lost.push(text()),
                Verdict::Torn => tally.torn.push(text()),
                Verdict::Held => tally.held.push(text()),
            }
        }
        step.calls.iter().skip(at).take(1).for_each(|call| disk.step(call));
    }
    tally.disks = reopener.disks();
    tally
}

/// The disk before each call and at the end of each step, the numbers of the states that are right there, how many calls of
/// the step are left, and all that in words.
fn each_point(recorded: &Recorded, lie: Option<Lie>, mut act: impl FnMut(&Disk, RangeInclusive<usize>, usize, &str)) {
    let mut disk = Disk::new(lie);
    for (nth, step) in recorded.steps.iter().enumerate() {
        for (at, call) in step.calls.iter().enumerate() {
            let place = format!("step {} before call {at}, {} of {}: {}", nth + 1, call[0], call[1], step.sql);
            act(&disk, nth..=nth + 1, step.calls.len() - at, &place);
            disk.step(call);
        }
        // Reported.
        act(&disk, nth + 1..=nth + 1, 0, &format!("after step {}: {}", nth + 1, step.sql));
    }
}

/// Disks on which a program was in the midst of writing the database, all over the workload.
pub fn cuts_in_the_middle(recorded: &Recorded, wanted: usize) -> Vec<(Image, RangeInclusive<usize>)> {
    let mut found = Vec::new();
    each_point(recorded, None, |disk, due, _, _| {
        let image = disk.cut(Luck::CRASH, &mut Rng::seeded(1));
        let journal = image.files.iter().find(|(name, _)| name.ends_with("-journal"));
        if journal.is_some_and(|(_, content)| content.first() == Some(&0xd9)) {
            found.push((image, due));
        }
    });
    let step = found.len().div_ceil(wanted).max(1);
    found.into_iter().step_by(step).collect()
}

/// The same with names of another run of this machine.
pub fn of_another_run(image: &Image) -> Image {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("Linux");
    let (short, other) = (&boot[..8], "0123abcd");
    let mut image = image.clone();
    image.names = std::mem::take(&mut image.names)
        .into_iter()
        .map(|(name, content)| {
            let content = String::from_utf8_lossy(&content).replace(short, other).into_bytes();
            (name.replace(short, other), content)
        })
        .collect();
    image
}
