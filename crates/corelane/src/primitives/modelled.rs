//! Those of shuttle and of the kernel that `corelane-os-model` plays.

pub(crate) use corelane_os_model::shuttle::{hint, thread_local};
pub(crate) use corelane_os_model::sync::{Mutex, MutexGuard, RwLock, mpsc};
pub(crate) use corelane_os_model::{futex, panic, thread, time};

macro_rules! global {
    ($(#[$meta:meta])* static $name:ident: $type:ty = $value:expr;) => {
        corelane_os_model::shuttle::lazy_static! { $(#[$meta])* static ref $name: $type = $value; }
    };
}
pub(crate) use global;

macro_rules! sabotaged {
    ($how:ident) => {
        corelane_os_model::is_sabotaged(corelane_os_model::Sabotage::$how)
    };
}
pub(crate) use sabotaged;
