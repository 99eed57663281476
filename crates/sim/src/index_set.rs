//! A set of small numbers from which a random member is taken in constant time.
//!
//! With hundreds of CPUs most are at rest at any moment. Asking each of them "can you step?" before every
//! micro-step would make the run quadratic; this set holds those that can.

use crate::Oracle;

const ABSENT: u32 = u32::MAX;

/// A set of numbers below a bound.
pub(crate) struct IndexSet {
    members: Vec<u32>,
    position: Vec<u32>,
}

impl IndexSet {
    /// The empty set of numbers below `bound`.
    pub(crate) fn new(bound: usize) -> IndexSet {
        IndexSet {
            members: Vec::with_capacity(bound),
            position: vec![ABSENT; bound],
        }
    }

    /// Makes `index` a member or not.
    pub(crate) fn set(&mut self, index: usize, is_member: bool) {
        let at = self.position[index];
        if is_member && at == ABSENT {
            self.position[index] = self.members.len() as u32;
            self.members.push(index as u32);
        } else if !is_member && at != ABSENT {
            self.members.swap_remove(at as usize);
            self.position[index] = ABSENT;
            if let Some(moved) = self.members.get(at as usize) {
                self.position[*moved as usize] = at;
            }
        }
    }

    /// A random member.
    pub(crate) fn choose(&self, oracle: &mut Oracle) -> Option<usize> {
        match self.members.len() {
            0 => None,
            len => Some(self.members[oracle.below(len)] as usize),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_those_that_were_set_last() {
        let (mut set, mut oracle) = (IndexSet::new(4), Oracle::new(1));
        for index in [0, 3, 1, 3] {
            set.set(index, true);
        }
        set.set(0, false);
        set.set(2, false);
        let mut seen = [false; 4];
        (0..100).for_each(|_| seen[set.choose(&mut oracle).unwrap()] = true);
        assert_eq!(seen, [false, true, false, true]);
        set.set(1, false);
        set.set(3, false);
        assert!(set.choose(&mut oracle).is_none());
    }
}
