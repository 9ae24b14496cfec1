//! What the simulated world is like: which filesystem, how much goes wrong, and the chance that decides.

/// What a filesystem's clients do, as measured between real kernels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    #[default]
    Local,
    Nfs3,
    Nfs4,
    Smb,
    NineP,
}

/// How often, in eighths, a client answers from its memory instead of asking the server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// A name that it looked up before, whether it was there or not.
    pub names: u64,
    /// A listing of a directory that it has not changed since.
    pub listings: u64,
    /// Pages of a file, until they are dropped.
    pub pages: u64,
}

impl Profile {
    pub const ALL: [Profile; 5] = [Profile::Local, Profile::Nfs3, Profile::Nfs4, Profile::Smb, Profile::NineP];

    /// As a person says it.
    pub fn word(self) -> &'static str {
        match self {
            Profile::Local => "local",
            Profile::Nfs3 => "nfs3",
            Profile::Nfs4 => "nfs4",
            Profile::Smb => "smb",
            Profile::NineP => "9p",
        }
    }

    pub fn named(word: &str) -> Option<Profile> {
        Profile::ALL.into_iter().find(|profile| profile.word() == word)
    }

    /// The filesystem type that the code under test sees.
    pub fn kind(self) -> &'static str {
        match self {
            Profile::Local => "ext4",
            Profile::Nfs3 => "nfs",
            Profile::Nfs4 => "nfs4",
            Profile::Smb => "cifs",
            Profile::NineP => "9p",
        }
    }

    /// What its clients remember. `loose`: the 9p mount option of that name.
    pub fn memory(self, loose: bool) -> Memory {
        match self {
            Profile::Local => Memory::default(),
            Profile::Nfs3 => Memory { names: 4, listings: 4, pages: 8 },
            Profile::Nfs4 => Memory { names: 2, listings: 2, pages: 8 },
            // Look-ups were wrong most of the time, pages in one of 25 rounds.
            Profile::Smb => Memory { names: 6, listings: 4, pages: 2 },
            Profile::NineP if loose => Memory { names: 4, listings: 4, pages: 8 },
            Profile::NineP => Memory::default(),
        }
    }

    /// Whether a client looks a name up no more while one of its programs has open what that stood for, as Linux' 9p client does.
    pub fn holds_names(self) -> bool {
        self == Profile::NineP
    }

    /// Whether a request whose client is gone, or was told an error, may still be on its way.
    pub fn delivers_late(self) -> bool {
        matches!(self, Profile::Nfs3 | Profile::Nfs4 | Profile::Smb)
    }
}

/// How often what befalls a step, in steps of 10,000.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    pub freeze: u32,
    pub crash: u32,
    /// An error although it was carried out, or an error and carried out later.
    pub lie: u32,
    /// Carried out once more, later.
    pub repeat: u32,
    /// A machine loses its power; on a local filesystem that is the server too.
    pub power: u32,
    /// The server stops answering, and perhaps loses its power.
    pub outage: u32,
    /// A machine's clock jumps.
    pub jump: u32,
    /// Stops, and half as often deaths, at the delicate steps of a takeover or of taking a lock, besides the others.
    pub aimed: u32,
    /// Stops of whoever is exclusive, besides the others.
    pub exposed: u32,
    /// Deaths between the two renames of a fence, while he who is fenced off wakes.
    pub parted: u32,
    /// The server's disk is full for a while.
    pub full: u32,
    /// A sync fails, and the next one knows nothing of it.
    pub unsynced: u32,
}

impl Faults {
    pub const NONE: Faults = Faults {
        freeze: 0,
        crash: 0,
        lie: 0,
        repeat: 0,
        power: 0,
        outage: 0,
        jump: 0,
        aimed: 0,
        exposed: 0,
        parted: 0,
        full: 0,
        unsynced: 0,
    };

    /// What a seed's weather is.
    pub fn draw(rng: &mut Rng) -> Faults {
        let calm = Faults::NONE;
        match rng.below(14) {
            0 => calm,
            1 => Faults { freeze: 60, ..calm },
            2 => Faults { crash: 40, ..calm },
            3 => Faults { lie: 60, ..calm },
            4 => Faults { repeat: 100, freeze: 30, ..calm },
            5 => Faults { freeze: 100, crash: 20, ..calm },
            6 => Faults { power: 25, ..calm },
            7 => Faults { power: 15, freeze: 30, crash: 10, ..calm },
            8 => Faults { outage: 12, lie: 10, freeze: 10, ..calm },
            9 => Faults { jump: 20, freeze: 30, ..calm },
            10 => Faults { freeze: 30, crash: 10, aimed: 600, ..calm },
            11 => Faults { freeze: 30, repeat: 40, lie: 15, aimed: 300, ..calm },
            _ => Faults { freeze: 40, crash: 15, lie: 15, repeat: 40, power: 5, outage: 3, jump: 3, ..calm },
        }
    }

    /// The same, and a disk that fails, in one seed of eight.
    pub fn with_disk(self, seed: u64) -> Faults {
        match Rng::new(seed ^ 0x6469_736b).below(8) {
            0 => Faults { full: 15, unsynced: 300, ..self },
            _ => self,
        }
    }

    /// Far more of it.
    pub fn draw_storm(rng: &mut Rng) -> Faults {
        match rng.below(7) {
            0 => Faults { freeze: 250, ..Faults::NONE },
            1 => Faults { freeze: 120, crash: 60, ..Faults::NONE },
            2 => Faults { crash: 120, power: 20, ..Faults::NONE },
            3 => Faults { freeze: 80, crash: 20, aimed: 1000, ..Faults::NONE },
            4 => Faults { freeze: 40, repeat: 40, aimed: 2000, ..Faults::NONE },
            5 => Faults { power: 5, aimed: 800, ..Faults::NONE },
            _ => {
                Faults { freeze: 120, crash: 30, lie: 30, repeat: 60, power: 10, outage: 8, aimed: 200, ..Faults::NONE }
            }
        }
    }
}

/// Something taken out of the simulated pager, filesystem or kernel, to see that it is missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The heartbeat goes through a handle: it succeeds whatever has become of the name.
    BeatByHandle,
    /// Presence is renamed now and then: a listing may miss it.
    MovingPresence,
    /// The lease is checked before a read and not after it.
    CheckBeforeRead,
    /// Another's name in L is taken for a writer whose journal is not hot.
    ReservedBesideRecoverer,
    /// A transaction ends by removing the journal's name.
    JournalUnlinked,
    /// The journal is not synced before the database is written.
    JournalUnsynced,
    /// The database is not synced before its journal is finalised.
    DatabaseUnsynced,
    /// Syncs answer at once and do nothing.
    LyingSync,
    /// Native locks keep nobody out.
    OpenLocks,
}

impl Broken {
    pub const ALL: [Broken; 9] = [
        Broken::BeatByHandle,
        Broken::MovingPresence,
        Broken::CheckBeforeRead,
        Broken::ReservedBesideRecoverer,
        Broken::JournalUnlinked,
        Broken::JournalUnsynced,
        Broken::DatabaseUnsynced,
        Broken::LyingSync,
        Broken::OpenLocks,
    ];

    pub fn named(word: &str) -> Option<Broken> {
        Broken::ALL.into_iter().find(|broken| format!("{broken:?}") == word)
    }
}

/// xorshift64*, by Vigna.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The draws that belong to one step of one task, whatever else was drawn before.
    pub fn of(seed: u64, task: usize, step: u64) -> Rng {
        let mut rng = Rng::new(
            seed ^ (task as u64).wrapping_mul(0xd6e8_feb8_6659_fd93) ^ step.wrapping_mul(0xa076_1d64_78bd_642f),
        );
        rng.next();
        rng.next();
        rng
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 11) % limit.max(1)
    }

    pub fn chance(&mut self, of_ten_thousand: u32) -> bool {
        self.below(10_000) < u64::from(of_ten_thousand)
    }
}
