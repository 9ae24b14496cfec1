//! How a process introduces itself at a database: its registration, and the registry, made if there is none.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::database::{Database, Inner};
use super::failure::Failure;
use super::handles::OwnHandles;
use super::messages::{self, Weight};
use super::seat::{Base, LockError};
use crate::protocol::error::{REGISTRY, in_the_way};
use crate::protocol::lease;
use crate::protocol::names::{Kind, Name, NodeId};
use crate::protocol::{self, Denied, Holder, Node};
use crate::storage::{Incarnation, Owner};
use crate::switches::{self, Guard};

impl Database {
    /// Registers this process at the database, making the registry if need be.
    pub(super) fn be_registered(&self, inner: &mut Inner, base: &mut dyn Base) -> Result<(), Failure> {
        if let Some(node) = inner.node.as_mut().filter(|node| !node.has_presence()) {
            // Between transactions a node gives no sign of life. If it was deposed meanwhile it had nothing to lose.
            match node.heartbeat_if_due() {
                Ok(()) | Err(Denied::Deposed(_)) => {}
                Err(denied) => return Err(denied.into()),
            }
        }
        if inner.node.as_ref().is_some_and(|node| !node.lease().is_deposed()) {
            return Ok(());
        }
        if let Some(mut old) = inner.node.take() {
            old.withdraw_wish();
            old.leave_reader();
        }
        self.make_registry(inner)?;
        let owner = self.owner()?;
        let settings = protocol::Settings {
            lease_ms: inner.lease_ms,
            local: self.kind.is_local(),
            renames_by_handle: self.kind.renames_by_handle(),
            holds_names: self.holds_names(),
            owner,
            client: base.client(),
        };
        inner.node = Some(Node::register(self.storage.clone(), self.paths.clone(), settings)?);
        // What handles were opened before this is not known any more, those of the connections included: without a node nothing
        // said that the file was replaced meanwhile, by a restored backup perhaps.
        self.forget(inner);
        inner.own = OwnHandles::default();
        if !switches::off(Guard::HandlesAnew) {
            inner.generation += 1;
        }
        Ok(())
    }

    /// Rights for what we make: the database's own.
    pub(super) fn owner(&self) -> Result<Owner, Denied> {
        let model = self.storage.attributes(&self.paths.database).or_else(|_| {
            let parent = self.storage.attributes(&self.paths.parent);
            parent.map(|found| crate::storage::Attributes { mode: found.mode & 0o666, ..found })
        });
        let model = model.map_err(Denied::io("look at", &self.paths.database))?;
        // Whoever may write the database may hold its locks; its owner always.
        Ok(Owner { mode: (model.mode & 0o666) | 0o600, uid: model.uid, gid: model.gid })
    }

    fn make_registry(&self, inner: &mut Inner) -> Result<(), Failure> {
        match self.storage.attributes(&self.paths.registry) {
            Ok(found) if found.is_dir => return Ok(()),
            Ok(found) => {
                let text = in_the_way(&self.paths.registry, REGISTRY, found.is_symlink);
                return Err(Denied::Refused(text).into());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Denied::io("look at", &self.paths.registry)(error).into()),
        }
        let existing = match self.storage.attributes(&self.paths.database) {
            Ok(found) => found.size > 0,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            // Taken for missing, one that is in use on the server would be written beside its users.
            Err(error) => return Err(Denied::io("look at", &self.paths.database)(error).into()),
        };
        if existing && self.kind.is_local() && !switches::off(Guard::RegistryGone) {
            // It was there, or we would have native locks. Without it others may share the database by those by now.
            return Err(Failure::Lock(LockError::Failed(format!(
                "coord: the registry {} was removed since this program has opened the database, as coord detach does it. Close the \
                 database, then open it anew",
                self.paths.registry.display()
            ))));
        }
        // By somebody on the server, whose native locks are not seen here.
        if !existing || self.kind.is_local() {
            return self.make_registry_now();
        }
        let lock = match switches::off(Guard::RegistryLocked) {
            true => None,
            false => self.lock_for_registry(inner)?,
        };
        let made = match switches::off(Guard::EarlierReaders) {
            true => self.make_registry_now().map_err(|why| Unshared { why, may_come: false }),
            false => self.share_with_readers(lock.as_ref()),
        };
        // Nobody may begin to write on the server while it may still come.
        let may_come = made.as_ref().is_err_and(|unshared| unshared.may_come) && !switches::off(Guard::LockKept);
        if lock.is_some() && !may_come {
            let _ = self.storage.remove_dir(&self.paths.lock);
        }
        made.map_err(|unshared| unshared.why)
    }

    /// Takes L while the registry is made beside an existing database: on the server's own disk a program in trusted mode may
    /// be writing, which holds L and has no heartbeat. Which L that is; `None` if it was held by the same name for ten leases.
    fn lock_for_registry(&self, inner: &mut Inner) -> Result<Option<Incarnation>, Failure> {
        match self.storage.make_dir(&self.paths.lock, self.owner()?) {
            Ok(()) => {
                return self.storage.incarnation(&self.paths.lock).map(Some).map_err(|error| {
                    let _ = self.storage.remove_dir(&self.paths.lock);
                    Denied::io("look at", &self.paths.lock)(error).into()
                });
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Denied::io("make the lock directory", &self.paths.lock)(error).into()),
        }
        let names = self.storage.list(&self.paths.lock).unwrap_or_default();
        let lease = Duration::from_millis(inner.lease_ms);
        // No name is made twice, but an empty one is like another.
        let which = match names.is_empty() {
            true => self.storage.incarnation(&self.paths.lock).unwrap_or_default().text,
            false => {
                let mut sorted = names.clone();
                sorted.sort();
                format!("{sorted:?}")
            }
        };
        let what = format!("unregistered {}", self.paths.lock.display());
        if self.storage.known_for(&what, &which) >= lease * 10 && self.still_in_lock(&names)? {
            return Ok(None);
        }
        let doing = "locked by a program on the server that does not share it over the network yet, or left so: its .lock directory \
                     is taken over once it has been there for ten leases, and can be removed if no such program runs";
        Err(Denied::Busy(Box::new(Holder::nobody(doing, lease))).into())
    }

    /// Whether a fresh listing of L shows the same: this client may remember one that is older than the lock. What has been changed
    /// from here is listed anew.
    fn still_in_lock(&self, names: &[std::ffi::OsString]) -> Result<bool, Failure> {
        if !switches::waits_for_earlier() {
            return Ok(true);
        }
        let path = self.paths.lock.join(Name { node: self.nobody(), n: 1, kind: Kind::New }.to_string());
        let made = self.storage.create_new(&path, b"", self.owner()?);
        let _ = self.storage.unlink(&path);
        match made.and_then(|()| self.storage.list(&self.paths.lock)) {
            Ok(listed) => Ok(listed == names),
            // Somebody else's, in which nothing can be changed from here: no program of ours has anything to do with it.
            Err(error) => Ok(matches!(
                error.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::NotADirectory
            )),
        }
    }

    /// A node that never was.
    fn nobody(&self) -> NodeId {
        NodeId::nobody(&self.storage.process(), self.storage.random())
    }

    pub(super) fn make_registry_now(&self) -> Result<(), Failure> {
        match self.storage.make_dir(&self.paths.registry, self.owner()?) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(Denied::io("make the registry", &self.paths.registry)(error).into()),
        }
    }

    /// On the server's own disk somebody may be reading in trusted mode who has not looked for the registry yet. The name of a
    /// reader whose node never was stands for him: nobody is exclusive before he has watched it for the default lease, and then
    /// the database is replaced, so that even a reader who stands still keeps what he reads. The registry gets its own name with
    /// that one in it, as whoever makes it may be killed at any step, and has had another name once only, as a rename may be late.
    fn share_with_readers(&self, lock: Option<&Incarnation>) -> Result<(), Unshared> {
        let nobody = self.nobody();
        let scratch = |n| self.paths.scratch(&Name { node: nobody.clone(), n, kind: Kind::New });
        let begun = match switches::off(Guard::WholeRegistry) {
            true => self.paths.registry.clone(),
            false => scratch(1),
        };
        let reader = Name { node: nobody.clone(), n: 1, kind: Kind::Reader }.to_string();
        let filled = self.fill_registry(&begun, &reader, lock);
        let asked = filled.is_ok();
        let named = filled.and_then(|()| {
            let renamed = self.storage.rename(&begun, &self.paths.registry);
            Ok(renamed.map_err(Denied::io("make the registry", &self.paths.registry))?)
        });
        if let Err(why) = named {
            // A rename that failed may still come, and must not find the directory without the name in it: so that goes out of the way
            // before it is emptied.
            let aside = match asked && !switches::off(Guard::LateRegistry) {
                true => scratch(2),
                false => begun.clone(),
            };
            let withdrawn = if asked { self.storage.rename(&begun, &aside) } else { Ok(()) };
            if withdrawn.is_ok() {
                let _ = self.storage.unlink(&aside.join(&reader));
                let _ = self.storage.remove_dir(&aside);
            }
            if self.storage.attributes(&self.paths.registry).is_ok_and(|found| found.is_dir) {
                // Ours after all, or somebody else was faster.
                return Ok(());
            }
            let may_come = withdrawn.is_err_and(|error| error.kind() != io::ErrorKind::NotFound);
            return Err(Unshared { why, may_come });
        }
        messages::say(
            Weight::Notice,
            format!(
                "coord: {} is shared from now on; its first change waits {} s for programs that were using it on the server",
                self.paths.database.display(),
                lease::DEFAULT_MS / 1000
            ),
        );
        Ok(())
    }

    fn fill_registry(&self, begun: &Path, reader: &str, lock: Option<&Incarnation>) -> Result<(), Failure> {
        let owner = self.owner()?;
        self.storage.make_dir(begun, owner).map_err(Denied::io("make the registry as", begun))?;
        switches::stop_point("registry-begun");
        let reader = begun.join(reader);
        self.storage.create_new(&reader, b"", owner).map_err(Denied::io("announce earlier readers at", &reader))?;
        let ours =
            |lock: &Incarnation| self.storage.incarnation(&self.paths.lock).is_ok_and(|now| now.text == lock.text);
        if !lock.is_none_or(ours) {
            // Who stands still for long enough here has lost it, to a program on the server that may be writing.
            return Err(Failure::Lock(LockError::Busy));
        }
        Ok(())
    }
}

/// Why a database was not shared, and whether it may be all the same, later.
struct Unshared {
    why: Failure,
    may_come: bool,
}
