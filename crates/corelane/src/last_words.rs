//! The last words of a process whose task did what cannot be survived.
//!
//! A stack overflow ends the process, and so does a panic in a program that is built with `panic=abort`.
//! What std prints then names the thread; but that is a fiber of the pool, on which any task may have been.
//! So a line that names the task is printed first.
//!
//! The overflow is seen in a signal handler. Nothing there is asked that could be in the middle of a
//! change: the fiber is found as everywhere, by the thread-local of the thread that faulted, and the task
//! on it cannot change while it runs. Only a fault in the guard page of that very fiber counts.
//!
//! Limits: a handler for SIGSEGV that is installed after the first runtime was built replaces this one,
//! unless it chains; the same goes for a panic hook. In a library loaded by `dlopen`, a first look at the
//! thread-local may allocate in the handler of a thread that is no fiber.

use std::sync::Once;

use corelane_os::fault;

use crate::current::Fiber;

/// Has the process name the task in its last words. Once per process.
pub(crate) fn name_tasks_in_last_words() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Left alone it is std's report or the embedder's, which names the fiber.
        let _ = fault::look_first(look);
        if cfg!(panic = "abort") {
            name_task_in_panics();
        }
    });
}

/// With `panic=abort` there is nobody to whom a joiner's error could name the task.
fn name_task_in_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if let Some(fiber) = Fiber::current() {
            let mut line = Line::new();
            line.task(fiber)
                .add(b" panics and ends the process (panic=abort)\n");
            line.say();
        }
        before(info);
    }));
}

/// In a signal handler.
fn look(address: usize) {
    let Some(fiber) = Fiber::current().filter(|fiber| fiber.is_guard(address)) else {
        return;
    };
    let mut line = Line::new();
    line.task(fiber).add(b" has overflowed its stack of ");
    line.number(fiber.stack_bytes() as u64)
        .add(b" bytes; Builder::stack_size makes it larger\n");
    line.say();
}

/// A line of text without allocation; what does not fit is cut off.
struct Line {
    text: [u8; LINE_BYTES_MAX],
    len: usize,
}

const LINE_BYTES_MAX: usize = 256;
/// So much of a name is printed, that the rest of the line fits.
const NAME_BYTES_MAX: usize = 100;

impl Line {
    fn new() -> Line {
        Line {
            text: [0; LINE_BYTES_MAX],
            len: 0,
        }
    }

    fn add(&mut self, text: &[u8]) -> &mut Line {
        let count = text.len().min(LINE_BYTES_MAX - self.len);
        self.text[self.len..self.len + count].copy_from_slice(&text[..count]);
        self.len += count;
        self
    }

    fn number(&mut self, number: u64) -> &mut Line {
        if number >= 10 {
            self.number(number / 10);
        }
        self.add(&[b'0' + (number % 10) as u8])
    }

    fn task(&mut self, fiber: &Fiber) -> &mut Line {
        let body = &fiber.task_node().body;
        self.add(b"corelane: task ").number(body.id);
        let Some(name) = &body.name else {
            return self.add(b" (unnamed)");
        };
        let name = name.as_bytes();
        self.add(b" '")
            .add(&name[..name.len().min(NAME_BYTES_MAX)])
            .add(b"'")
    }

    fn say(&self) {
        fault::say(&self.text[..self.len]);
    }
}

#[cfg(test)]
mod tests {
    use super::{LINE_BYTES_MAX, Line};

    #[test]
    fn numbers_are_decimal() {
        for number in [0, 7, 10, 204_896, u64::MAX] {
            let mut line = Line::new();
            line.number(number);
            assert_eq!(&line.text[..line.len], number.to_string().as_bytes());
        }
    }

    #[test]
    fn what_does_not_fit_is_cut_off() {
        let mut line = Line::new();
        line.add(&[b'x'; LINE_BYTES_MAX - 1]).add(b"yz").add(b"z");
        assert_eq!(
            (line.len, line.text[LINE_BYTES_MAX - 1]),
            (LINE_BYTES_MAX, b'y')
        );
    }
}
