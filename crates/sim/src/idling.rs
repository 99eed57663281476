//! The micro-steps of an idle worker: polling, then the handshake before sleeping.

use core::sync::atomic::Ordering::Relaxed;
use corelane_sched::IdleWord;

use crate::Sabotage;
use crate::cpu::{Intent, Phase};
use crate::ledger::Spot;
use crate::machine::Machine;

impl Machine {
    /// Something came, or the worker has polled for long enough.
    pub(crate) fn stop_polling(&mut self, cpu: usize) -> Phase {
        let arrived = self.cpus[cpu].slot.close();
        if let Some((task, _)) = &arrived {
            self.hand_over(task.body, Spot::Slot(cpu), Spot::Hand);
        }
        if arrived.is_some() || self.cpus[cpu].has_news() {
            return Phase::Entering(Intent::Idle(arrived));
        }
        Phase::Announcing
    }

    pub(crate) fn announce(&mut self, cpu: usize) -> Phase {
        self.cpus[cpu].idle.announce();
        Phase::Looking
    }

    /// Sleeps unless there is news by now, or somebody has changed the word.
    pub(crate) fn look_again(&mut self, cpu: usize) -> Phase {
        let core = &self.cpus[cpu];
        if core.has_news() && self.sabotage != Sabotage::NoLookBeforeSleep {
            return Phase::Waking;
        }
        // Relaxed: one thread.
        if core.idle.word().load(Relaxed) == IdleWord::PARKED {
            return Phase::Asleep;
        }
        Phase::Waking
    }

    pub(crate) fn awake(&mut self, cpu: usize) -> Phase {
        self.cpus[cpu].idle.awake();
        Phase::Entering(Intent::Idle(None))
    }
}
