//! Panics of this thread: a task's is caught by whoever runs it, and would be seen by nobody.

use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook},
    sync::Once,
};

thread_local! {
    static SEEN: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Does something on this thread; gives what came of it, unless it panicked, and every panic meanwhile.
pub fn of<T>(act: impl FnOnce() -> T) -> (Option<T>, Vec<String>) {
    static LISTEN: Once = Once::new();
    LISTEN.call_once(|| {
        let told = take_hook();
        set_hook(Box::new(move |panic| {
            SEEN.with_borrow_mut(|seen| seen.push(panic.to_string()));
            told(panic);
        }));
    });
    SEEN.take();
    let done = catch_unwind(AssertUnwindSafe(act)).ok();
    (done, SEEN.take())
}

#[test]
fn panics_of_tasks_are_seen_too() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let (done, panics) = of(|| {
        let task = async { tokio::spawn(async { panic!("a bug") }).await.is_err() };
        runtime.block_on(task)
    });
    assert_eq!(done, Some(true));
    assert!(panics.len() == 1 && panics[0].contains("a bug"), "{panics:?}");
    assert_eq!(of(|| panic!("another")).0, None::<()>);
}
