//! The SQL functions: one line each in [`ALL`], one plain Rust function each below, and the glue to C at the end.

use std::ffi::{CStr, c_int, c_void};
use std::path::Path;

use serde_json::{Value, json};

use super::defined;
use super::locks::path_from;
use crate::guard::{caught, guard};
use crate::host::ffi::{SQLITE_DIRECTONLY, SQLITE_INNOCUOUS, ScalarFunction, sqlite3, sqlite3_context, sqlite3_value};
use crate::host::{Api, HOSTS_MAX, in_slot};
use crate::lock::report;

/// An SQL function.
pub(super) struct Function {
    pub name: &'static CStr,
    /// Marks for the host: who may call it.
    pub flags: c_int,
    pub body: Body,
}

/// What a function does. The answer, or a sentence with which the statement fails.
#[derive(Clone, Copy)]
pub(super) enum Body {
    /// Without arguments.
    Plain(fn(&'static Api) -> Result<Answer, String>),
    /// With a path.
    OfPath(fn(&Path) -> Result<Answer, String>),
}

/// What a function gives back.
pub(super) enum Answer {
    Null,
    Integer(i64),
    Text(String),
}

impl Answer {
    /// Hands the answer to the host.
    ///
    /// # Safety
    /// `context` is one of `api`'s host, which waits for an answer in it.
    pub(super) unsafe fn give(self, api: &Api, context: *mut sqlite3_context) {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Answer::Null => api.result_null(context),
                Answer::Integer(value) => api.result_int64(context, value),
                Answer::Text(text) => api.result_text(context, &text),
            }
        }
    }
}

/// The SQL functions of coord. None is marked as deterministic: no index may rest on them.
pub(super) const ALL: &[Function] = &[
    Function { name: c"coord_version", flags: SQLITE_INNOCUOUS, body: Body::Plain(version) },
    Function { name: c"coord_info", flags: 0, body: Body::Plain(info) },
    Function { name: c"coord_locks_taken", flags: SQLITE_INNOCUOUS, body: Body::Plain(locks_taken) },
    Function { name: c"coord_last_error", flags: 0, body: Body::Plain(last_error) },
    Function { name: c"coord_release", flags: SQLITE_DIRECTONLY, body: Body::Plain(release) },
    Function { name: c"coord_default", flags: SQLITE_DIRECTONLY, body: Body::Plain(make_default) },
    Function { name: c"coord_check", flags: SQLITE_DIRECTONLY, body: Body::OfPath(check) },
];

/// `coord_version()`: the version of coord.
fn version(_: &'static Api) -> Result<Answer, String> {
    Ok(Answer::Text(env!("CARGO_PKG_VERSION").to_owned()))
}

/// `coord_info()`: a JSON object with what is known about coord in this process and about the SQLite it serves.
fn info(api: &'static Api) -> Result<Answer, String> {
    Ok(Answer::Text(with_host(report::info(), api).to_string()))
}

/// `process` with the host's part added. Something that is not an object is kept under `process`.
fn with_host(process: Value, api: &'static Api) -> Value {
    let mut all = match process {
        Value::Object(all) => all,
        other => serde_json::Map::from_iter([("process".to_owned(), other)]),
    };
    all.insert("coord_version".to_owned(), json!(env!("CARGO_PKG_VERSION")));
    all.insert("sqlite_version".to_owned(), json!(api.version_text()));
    all.insert("sqlite_threadsafe".to_owned(), json!(api.threadsafe()));
    all.insert("base_vfs".to_owned(), json!(crate::vfs::base_name(api)));
    all.insert("default_vfs".to_owned(), json!(default_vfs(api)));
    Value::Object(all)
}

/// `coord_locks_taken()`: how many locks coord has granted in this process since it was loaded. Zero while a database is in use
/// means that its connection does not go through coord.
fn locks_taken(_: &'static Api) -> Result<Answer, String> {
    Ok(Answer::Integer(i64::try_from(report::locks_taken()).unwrap_or(i64::MAX)))
}

/// `coord_last_error()`: the last thing that coord had to say in this process, in full; NULL if nothing yet.
fn last_error(_: &'static Api) -> Result<Answer, String> {
    Ok(report::last_error().map_or(Answer::Null, Answer::Text))
}

/// `coord_release()`: gives up, at once, every lock that this process keeps although no transaction of its own needs it. Answers
/// with the number of databases on which there was one.
fn release(_: &'static Api) -> Result<Answer, String> {
    Ok(Answer::Integer(i64::try_from(crate::lock::release_all()).unwrap_or(i64::MAX)))
}

/// `coord_default()`: makes coord the VFS of connections that are opened from now on and name none. Answers with the name of
/// the default VFS, as it is afterwards.
fn make_default(api: &'static Api) -> Result<Answer, String> {
    crate::vfs::make_default(api)?;
    Ok(default_vfs(api).map_or(Answer::Null, Answer::Text))
}

/// `coord_check(dir)`: what `coord check` finds out by itself of the filesystem that a directory is on, as JSON.
fn check(dir: &Path) -> Result<Answer, String> {
    let report = crate::check::one_host(&*crate::lock::storage(), dir, &crate::check::Watch::NOBODY);
    let report = report.map_err(|trouble| format!("coord: {trouble}"))?;
    serde_json::to_string(&report).map(Answer::Text).map_err(|error| format!("coord: {error}"))
}

/// The name of the host's default VFS.
fn default_vfs(api: &Api) -> Option<String> {
    let vfs = api.vfs_find(None);
    if vfs.is_null() {
        return None;
    }
    // SAFETY: a VFS that is registered is whole, and has a name that is a C text.
    let name = unsafe { CStr::from_ptr((*vfs).zName) };
    Some(name.to_string_lossy().into_owned())
}

// --- the glue to C ---

/// Defines one function on one connection.
///
/// # Safety
/// As [`super::register`].
pub(super) unsafe fn define(api: &'static Api, db: *mut sqlite3, function: &'static Function) -> Result<(), String> {
    let data = std::ptr::from_ref(function).cast_mut().cast::<c_void>();
    let arguments = match function.body {
        Body::Plain(_) => 0,
        Body::OfPath(_) => 1,
    };
    // SAFETY: the caller's promise for `db`; the function of the host's slot is called by that host, with this data, which lives
    // for ever.
    let code =
        unsafe { api.create_function(db, function.name, arguments, function.flags, data, CALLS[api.slot()], None) };
    defined(api, &format!("{}()", function.name.to_string_lossy()), code)
}

/// The functions that hosts call, one for each slot.
const CALLS: [ScalarFunction; HOSTS_MAX] = [
    call::<0>, call::<1>, call::<2>, call::<3>, call::<4>, call::<5>, call::<6>, call::<7>, call::<8>, call::<9>,
    call::<10>, call::<11>, call::<12>, call::<13>, call::<14>, call::<15>,
];

/// Any of our functions, called by the host in `SLOT`.
unsafe extern "C" fn call<const SLOT: usize>(context: *mut sqlite3_context, _: c_int, values: *mut *mut sqlite3_value) {
    guard((), || {
        // `define` has handed this function to that host only, which was captured before.
        let Some(api) = in_slot(SLOT) else { return };
        // SAFETY: a running function of this host, whose data `define` has set to a `Function`.
        let function = unsafe { &*api.user_data(context).cast::<Function>() };
        let answer = caught(|| match function.body {
            Body::Plain(body) => body(api),
            Body::OfPath(body) => {
                // SAFETY: `define` has asked for one argument.
                let value = unsafe { api.value_text(*values) };
                let bytes = value.filter(|bytes| !bytes.is_empty());
                let bytes = bytes.ok_or_else(|| format!("coord: {} needs a path", function.name.to_string_lossy()))?;
                body(&path_from(bytes)?)
            }
        });
        let answer = answer.and_then(|answer| answer);
        // SAFETY: the context of the running function.
        unsafe {
            match answer {
                Ok(answer) => answer.give(api, context),
                Err(sentence) => api.result_error(context, &sentence),
            }
        }
    });
}
