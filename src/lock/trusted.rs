//! Trusted mode: the platform's own locks decide, on a local filesystem, beside clients that know nothing of coord. Writers
//! also hold the lock directory, which keeps `unix-dotfile` clients out and shows who writes.

use std::io;
use std::path::PathBuf;

use super::database::{Database, Inner, Mode};
use super::failure::Failure;
use super::level::Level;
use super::seat::{Base, LockError, Seat};
use super::settings::ModeWish;
use crate::protocol::{Denied, NodeId};
use crate::storage::Instant;
use crate::switches::{self, Guard};

mod directory;

pub(super) use directory::process_behind;

/// The lock directory in trusted mode.
#[derive(Default)]
pub(super) struct TrustedLock {
    pub(super) node: Option<NodeId>,
    pub(super) held: Option<PathBuf>,
    /// Names in the directory whose holders are probably gone: to be removed once the native lock says so.
    pub(super) doubtful: Vec<PathBuf>,
    /// Who is seen in the directory, each since when.
    pub(super) seen: Vec<(String, Instant)>,
    /// Connections of a second copy of SQLite whose native unlock would drop the first copy's locks.
    deferred: Vec<(usize, *mut dyn Base, u64)>,
    /// Handles of a second copy of SQLite whose closing would do the same.
    kept_open: Vec<(usize, Box<dyn std::any::Any + Send>)>,
}

impl TrustedLock {
    pub fn keep_open(&mut self, copy: usize, handle: Box<dyn std::any::Any + Send>) {
        self.kept_open.push((copy, handle));
    }

    pub fn is_held(&self) -> bool {
        self.held.is_some()
    }
}

// SAFETY: the pointers are only followed under the manager's mutex, and only while their seat is taken (`forget`).
unsafe impl Send for TrustedLock {}

impl Database {
    pub(super) fn lock_trusted(
        &self,
        inner: &mut Inner,
        seat: &mut Seat,
        level: Level,
        base: &mut dyn Base,
    ) -> Result<(), Failure> {
        let upgrading = level == Level::Exclusive && seat.level >= Level::Reserved;
        if !upgrading && !inner.arbiter.admits(seat.id, level) {
            return Err(Failure::Lock(LockError::Busy));
        }
        match level {
            Level::Shared => {
                self.forget_deferred(inner, seat);
                if seat.wishes.mode == ModeWish::NetworkExclusive {
                    self.make_network_exclusive(inner, base)?;
                    return self.follow_registry(inner, seat, base);
                }
                base.native_lock(Level::Shared)?;
                if inner.arbiter.is_idle() {
                    // Otherwise there are connections still that must not go on.
                    self.unusurp();
                }
                // Looked for under the native lock: it is made under native EXCLUSIVE, so there is no gap.
                match self.is_registered() {
                    _ if switches::off(Guard::RegistrySeen) => {}
                    Ok(false) => {}
                    registered => {
                        if !inner.arbiter.is_idle() {
                            // Another copy of SQLite in this process may lose its native lock with ours.
                            self.usurp();
                        }
                        base.native_unlock(Level::None);
                        registered?;
                        return self.follow_registry(inner, seat, base);
                    }
                }
            }
            Level::Reserved => {
                self.enter_lock(inner)?;
                let free = self.not_registered(Guard::NotRegistered);
                let locked = free.and_then(|()| Ok(base.native_lock(Level::Reserved)?));
                let locked = locked.and_then(|()| self.confirm_lock(inner, base, seat.level));
                if let Err(failure) = locked {
                    self.leave_lock(inner);
                    return Err(failure);
                }
            }
            _ => {
                let entered = seat.level == Level::Shared;
                if entered {
                    self.enter_lock(inner)?;
                }
                if !inner.arbiter.admits(seat.id, Level::Exclusive) {
                    if entered {
                        self.leave_lock(inner);
                    } else if !switches::off(Guard::PendingNoted) {
                        // As below: with ever new readers of this process it would wait for ever.
                        seat.level = Level::Pending;
                        inner.arbiter.set(seat.id, Level::Pending, None, seat.copy);
                    }
                    return Err(Failure::Lock(LockError::Busy));
                }
                let free = self.not_registered(Guard::NotRegistered);
                let locked = free.and_then(|()| Ok(base.native_lock(Level::Exclusive)?));
                let locked = locked.and_then(|()| match entered {
                    true => self.confirm_lock(inner, base, seat.level),
                    false => Ok(()),
                });
                if let Err(failure) = locked {
                    if entered {
                        self.leave_lock(inner);
                    } else {
                        // SQLite keeps PENDING; nobody of ours may start to read either.
                        seat.level = Level::Pending;
                        inner.arbiter.set(seat.id, Level::Pending, None, seat.copy);
                    }
                    return Err(failure);
                }
            }
        }
        seat.level = level;
        inner.arbiter.set(seat.id, level, None, seat.copy);
        Ok(())
    }

    pub(super) fn unlock_trusted(&self, inner: &mut Inner, seat: &mut Seat, level: Level, base: &mut dyn Base) {
        let wrote = seat.level >= Level::Reserved;
        seat.level = level;
        inner.arbiter.set(seat.id, level, None, seat.copy);
        // Byte-range locks belong to the process: giving SHARED up here would give up the other copy's as well.
        let shared_with_other_copy = level == Level::None && inner.arbiter.other_copy(seat.copy);
        if shared_with_other_copy {
            base.native_unlock(Level::Shared);
            // SAFETY (of the later use): see `TrustedLock`; the lifetime is that of the seat, which `forget` ends.
            let pointer = unsafe { std::mem::transmute::<*mut (dyn Base + '_), *mut (dyn Base + 'static)>(base) };
            inner.trusted.deferred.push((seat.copy, pointer, seat.id));
        } else {
            base.native_unlock(level);
        }
        if wrote {
            self.leave_lock(inner);
        }
        if wrote || inner.arbiter.is_idle() {
            // From here on others, or we, may change the file.
            inner.baseline = None;
        }
        self.run_deferred(inner);
    }

    /// With L held, which whoever makes the registry needs: a registry that is there means that others go by it already.
    fn not_registered(&self, guard: Guard) -> Result<(), Failure> {
        match self.is_registered() {
            _ if switches::off(guard) => Ok(()),
            Ok(false) => Ok(()),
            Ok(true) => Err(Failure::Lock(LockError::Failed(self.usurped_text()))),
            Err(failure) => Err(failure),
        }
    }

    /// Only "no such file" says that there is no registry.
    fn is_registered(&self) -> Result<bool, Failure> {
        match self.storage.attributes(&self.paths.registry) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Denied::io("look for the registry", &self.paths.registry)(error).into()),
        }
    }

    /// While a connection holds a native lock: whether the registry has appeared all the same, made by a host that the native
    /// lock does not reach. From then on the connections of trusted mode fail until they lock anew.
    pub(super) fn look_for_registry(&self, inner: &Inner) -> Option<Instant> {
        if inner.arbiter.is_idle() {
            return None;
        }
        if self.look_now() {
            return None;
        }
        Some(self.storage.now().after(inner.registry_interval()))
    }

    /// The same, at once.
    pub fn look_now(&self) -> bool {
        // Where nothing can be learned of it, it may be there.
        let found = !matches!(self.is_registered(), Ok(false));
        if found {
            self.usurp();
        }
        found
    }

    /// Native unlocks that had to wait for another copy of SQLite.
    fn run_deferred(&self, inner: &mut Inner) {
        let waiting = std::mem::take(&mut inner.trusted.deferred);
        for (copy, base, id) in waiting {
            if inner.arbiter.other_copy(copy) {
                inner.trusted.deferred.push((copy, base, id));
            } else {
                // SAFETY: under the manager's mutex, and the seat is still taken: `forget` removes its entry first.
                unsafe { (*base).native_unlock(Level::None) };
            }
        }
        let arbiter = &inner.arbiter;
        inner.trusted.kept_open.retain(|(copy, _)| arbiter.other_copy(*copy));
    }

    /// The seat locks again, or goes: its native lock is its own business from here on.
    pub(super) fn forget_deferred(&self, inner: &mut Inner, seat: &Seat) {
        inner.trusted.deferred.retain(|(_, _, id)| *id != seat.id);
    }

    /// The program ends: the native locks go with it, the directory must be given back.
    pub(super) fn release_trusted(&self, inner: &mut Inner) {
        self.leave_lock(inner);
    }

    /// The registry appeared: from here on this process follows it.
    fn follow_registry(&self, inner: &mut Inner, seat: &mut Seat, base: &mut dyn Base) -> Result<(), Failure> {
        if let Some(text) = self.contradiction(Mode::NetworkExclusive, seat.wishes.mode) {
            return Err(Failure::Lock(LockError::Failed(text)));
        }
        if !inner.arbiter.is_idle() {
            return Err(Failure::Lock(LockError::Busy));
        }
        self.enter_network_mode(inner);
        // Every connection's handle was opened with native locks.
        inner.generation += 1;
        base.reopen(false, false).map_err(Denied::io("open", &self.paths.database))?;
        seat.generation = inner.generation;
        self.lock_shared(inner, seat, base)
    }

    /// Makes the registry while nobody else can be in the database.
    fn make_network_exclusive(&self, inner: &mut Inner, base: &mut dyn Base) -> Result<(), Failure> {
        if self.storage.attributes(&self.paths.registry).is_ok() {
            return Ok(());
        }
        if !inner.arbiter.is_idle() {
            return Err(Failure::Lock(LockError::Busy));
        }
        if !base.is_writable() {
            return Err(Failure::Lock(LockError::ReadOnly(format!(
                "coord: {} is not in network-exclusive mode yet, and a read-only connection cannot put it there: open it once \
                 for writing with coord_mode=network-exclusive",
                self.paths.database.display()
            ))));
        }
        if let Err(failure) = self.enter_lock(inner) {
            // Of two who make it one is in L, and the other finds what that one has made: it follows, and nothing is wrong.
            let made = !switches::off(Guard::FasterChange) && self.storage.attributes(&self.paths.registry).is_ok();
            return if made { Ok(()) } else { Err(failure) };
        }
        let alone = match switches::off(Guard::ChangeAlone) {
            true => Ok(()),
            false => base.native_lock(Level::Shared).and_then(|()| base.native_lock(Level::Exclusive)),
        };
        let alone = alone.map_err(Failure::Lock).and_then(|()| self.confirm_lock(inner, base, Level::None));
        let made = alone.and_then(|()| {
            // The native lock keeps everybody out from here on. A name that a kill left in L once the registry exists
            // would be one of a node that never had a heartbeat there.
            self.leave_lock(inner);
            self.make_registry_now()
        });
        base.native_unlock(Level::None);
        self.leave_lock(inner);
        made
    }
}
