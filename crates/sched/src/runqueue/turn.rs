//! From one task to the next on the stack of the one that leaves.
//!
//! A task that is put back could be found by others while it still stands on its stack. So these steps never
//! hand the current task out, and the caller keeps the lock until the next task runs.

use crate::{Movable, Node, Place, Residence, Runqueue, TaskRef};

use super::queued_prio;

impl<T> Runqueue<T> {
    /// Puts the current task back and makes the next one current.
    ///
    /// For a caller that is still on the stack of the current task: unlike [`Runqueue::put_prev`] this does
    /// not hand the task out, even if its affinity has changed a moment ago. The letter that tells of the
    /// change moves it.
    ///
    /// # Panics
    /// If there is no current task, or no queued one.
    pub fn switch(&mut self, place: Place) -> &TaskRef<T> {
        let task = self.current.take().expect("a current task is put back");
        let next = self.best().expect("a queued task is picked");
        let next = self.array_mut(next).pop().expect("a queued task is picked");
        task.entity().set_residence(Residence::Queued);
        let movable = task.entity().movable();
        let _ = self.file(task, movable, place);
        next.entity().set_residence(Residence::Current);
        self.current.insert(next)
    }

    /// Whose turn it is when the current task gives way, if the exchange shows nowhere else: the two are
    /// equal in all that CPUs publish and search by, so nothing needs to be published, pushed or pulled.
    pub fn turn(&self) -> Option<&Node<T>> {
        let (current, next) = (self.current.as_ref()?.entity(), self.peek()?);
        let movable = current.movable();
        let alike = queued_prio(next.entity()) == current.prio()
            && movable != Movable::Held
            && movable == next.entity().filed()
            && current.affinity().contains(self.cpu)
            && current.affinity().same_as(next.entity().affinity());
        alike.then_some(next)
    }

    /// Makes a task current again that was just taken: the caller is still on its stack.
    ///
    /// # Panics
    /// If there is a current task.
    pub fn restore_current(&mut self, task: TaskRef<T>) {
        assert!(self.current.is_none(), "one task is current");
        task.entity().claim(Residence::Current);
        self.current = Some(task);
    }
}
