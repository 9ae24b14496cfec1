//! No panic may leave our code towards C: it would end the user's program. Every function that C calls goes through here.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

/// Where panics are reported to, once somebody wants to know.
static HOOK: OnceLock<fn(&str)> = OnceLock::new();

/// Has each caught panic told to `hook`, as one sentence. The first hook stays. A panic in it is caught and forgotten.
pub fn on_panic(hook: fn(&str)) {
    let _ = HOOK.set(hook);
}

/// What `f` returns, or `fallback` if it panics.
pub fn guard<R>(fallback: R, f: impl FnOnce() -> R) -> R {
    caught(f).unwrap_or(fallback)
}

/// What `f` returns, or the panic as a sentence, which has been reported already.
///
/// # Errors
/// Only for a panic.
pub fn caught<R>(f: impl FnOnce() -> R) -> Result<R, String> {
    caught_telling(HOOK.get(), f)
}

/// [`caught`], with the hook to tell.
fn caught_telling<R>(hook: Option<&fn(&str)>, f: impl FnOnce() -> R) -> Result<R, String> {
    // What a panic leaves half done lies behind locks, whose owners treat a poisoned one as they see fit.
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| {
        let sentence = format!("coord: internal error, please report it: {}", describe(payload));
        if let Some(hook) = hook {
            // A payload's destructor is foreign code that could panic once more.
            let _ = catch_unwind(|| hook(&sentence)).map_err(std::mem::forget);
        }
        sentence
    })
}

/// What `panic!` was given, if it is text. Anything else is leaked: its destructor could panic in turn.
fn describe(payload: Box<dyn Any + Send>) -> String {
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => match payload.downcast::<&'static str>() {
            Ok(text) => (*text).to_owned(),
            Err(payload) => {
                std::mem::forget(payload);
                "a panic without a text".to_owned()
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_the_fallback() {
        assert_eq!(guard(1, || 2), 2);
        assert_eq!(guard(1, || panic!("static")), 1);
        assert_eq!(guard(1, || std::panic::panic_any(7_u8)), 1);
        let number = 42;
        let sentence = caught(|| panic!("formatted {number}")).unwrap_err();
        assert!(sentence.ends_with("formatted 42"), "{sentence}");
    }

    #[test]
    fn a_hook_is_told_and_may_panic() {
        use std::sync::atomic::{AtomicBool, Ordering};
        static TOLD: AtomicBool = AtomicBool::new(false);
        let hook: fn(&str) = |sentence| {
            TOLD.store(sentence.ends_with("first"), Ordering::SeqCst);
            panic!("second");
        };
        assert!(caught_telling(Some(&hook), || panic!("first")).unwrap_err().ends_with("first"));
        assert!(TOLD.load(Ordering::SeqCst));
    }
}
