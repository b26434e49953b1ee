//! Ctrl-C ends a run, and what it found until then is told.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tokio::runtime;

/// Set at the first SIGINT. A second one ends the process at once, as if nobody listened.
///
/// # Errors
/// The system gives no signals, or no thread.
pub fn listen() -> io::Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
    // From here on a signal is not lost, whenever the thread begins.
    let signals =
        runtime.block_on(async { tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt()) });
    let (mut signals, flag) = (signals?, Arc::clone(&interrupted));
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            signals.recv().await;
            flag.store(true, Ordering::Relaxed);
            signals.recv().await;
            std::process::exit(130);
        });
    })?;
    Ok(interrupted)
}
