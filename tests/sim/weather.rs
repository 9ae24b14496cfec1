//! What the simulated world is like: which filesystem, how much goes wrong, and the chance that decides.

/// What a filesystem's clients do, as measured between real kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    Local,
    Nfs,
    Smb,
}

impl Profile {
    pub const ALL: [Profile; 3] = [Profile::Local, Profile::Nfs, Profile::Smb];

    /// As a person says it.
    pub fn word(self) -> &'static str {
        match self {
            Profile::Local => "local",
            Profile::Nfs => "nfs",
            Profile::Smb => "smb",
        }
    }

    /// The filesystem type that the code under test sees.
    pub fn kind(self) -> &'static str {
        match self {
            Profile::Local => "ext4",
            Profile::Nfs => "nfs4",
            Profile::Smb => "cifs",
        }
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
}

impl Faults {
    pub const NONE: Faults = Faults { freeze: 0, crash: 0, lie: 0, repeat: 0 };
}

/// xorshift64*, by Vigna.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
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
