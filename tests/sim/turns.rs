//! The simulated tasks run as coroutines of one thread: handing the turn on is a switch of stacks. (Threads that wait for each
//! other were five times slower: most of their time went into waking one another.)

use std::cell::{Cell, RefCell};
use std::panic::AssertUnwindSafe;
use std::ptr;
use std::sync::Arc;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};

use super::machines::Crashed;
use super::world::World;

/// Room for what a task calls, real SQLite included.
const STACK: usize = 512 * 1024;

thread_local! {
    /// Which task runs on this thread: several tasks of a process share one storage.
    static TASK: Cell<usize> = const { Cell::new(0) };
    /// Its way back to [`play`].
    static YIELDER: Cell<*const Yielder<(), ()>> = const { Cell::new(ptr::null()) };
    /// Stacks of earlier runs.
    static STACKS: RefCell<Vec<DefaultStack>> = const { RefCell::new(Vec::new()) };
}

/// The task that runs.
pub fn task() -> usize {
    TASK.get()
}

/// What one task does from its beginning to its end.
pub type Work = Box<dyn FnOnce()>;

/// Runs all tasks, one step of one of them at a time, until they have ended. A panic in one of them is a violation.
pub fn play(world: &Arc<World>, tasks: Vec<Work>) {
    let mut open = tasks.len();
    let mut coroutines: Vec<Option<Coroutine<(), (), (), DefaultStack>>> = Vec::new();
    for (task, work) in tasks.into_iter().enumerate() {
        let kept = STACKS.with_borrow_mut(Vec::pop);
        let stack = kept.unwrap_or_else(|| DefaultStack::new(STACK).expect("memory for a stack"));
        let world = world.clone();
        let body = move |yielder: &Yielder<(), ()>, ()| {
            YIELDER.set(yielder);
            TASK.set(task);
            if let Err(payload) = std::panic::catch_unwind(AssertUnwindSafe(work))
                && !payload.is::<Crashed>()
            {
                let fixed = payload.downcast_ref::<&str>().map(|text| text.to_string());
                let text = payload.downcast_ref::<String>().cloned().or(fixed).unwrap_or_default();
                world.state().history.violated(format!("task {task} panicked: {text}"));
            }
            world.end(task);
        };
        coroutines.push(Some(Coroutine::with_stack(stack, body)));
    }
    while open > 0 {
        let turn = world.turn();
        let coroutine = coroutines[turn].as_mut().expect("a task that has ended has no turn");
        if let CoroutineResult::Return(()) = coroutine.resume(()) {
            open -= 1;
            let stack = coroutines[turn].take().expect("just run").into_stack();
            STACKS.with_borrow_mut(|stacks| stacks.push(stack));
        }
    }
}

/// Lets the others run until it is this task's turn again.
pub(super) fn give_way() {
    let (task, yielder) = (TASK.get(), YIELDER.get());
    // SAFETY: set at the beginning of the coroutine that runs now, whose frame keeps it until that coroutine returns.
    unsafe { (*yielder).suspend(()) };
    TASK.set(task);
    YIELDER.set(yielder);
}
