//! What holds for the whole process as soon as the addon is loaded: a panic of ours ends it, at once and with
//! one line. Going on after a broken invariant could write wrong bytes; the supervisor starts the process
//! again.

use std::sync::Once;

static ONCE: Once = Once::new();

#[napi_derive::module_init]
fn prepare() {
    ONCE.call_once(|| {
        let printed = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            printed(panic);
            std::process::abort();
        }));
    });
}
