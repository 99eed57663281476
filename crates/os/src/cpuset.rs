//! Sets of kernel CPUs of any size.
//!
//! `cpu_set_t` ends at 1024 CPUs, and the kernel refuses a shorter buffer than its own mask. A
//! [`KernelCpuSet`] grows with the highest CPU it holds. It also reads the kernel's list format
//! (`0-3,8,10-11`), in which sysfs tells about CPUs.

use core::fmt;

/// The kernel's number of a CPU, as in `/sys/devices/system/cpu/cpu<n>`. Not a slot of the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KernelCpu(pub u32);

impl fmt::Display for KernelCpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A CPU number above this in a list is a malformed list; the kernel's own bound (CONFIG_NR_CPUS)
/// is 8192.
const CPUS_MAX: u32 = 1 << 16;

/// A set of kernel CPUs, without an upper bound of its own.
#[derive(Clone, Default)]
pub struct KernelCpuSet {
    words: Vec<u64>,
}

impl KernelCpuSet {
    /// The empty set.
    pub fn new() -> KernelCpuSet {
        KernelCpuSet::default()
    }

    /// The set of one CPU.
    pub fn single(cpu: KernelCpu) -> KernelCpuSet {
        [cpu].into_iter().collect()
    }

    /// Reads the kernel's list format; `None` when it is malformed. The empty string is the empty
    /// set.
    pub fn parse_list(list: &str) -> Option<KernelCpuSet> {
        let mut set = KernelCpuSet::new();
        for part in list
            .trim()
            .split(',')
            .filter(|part| !part.trim().is_empty())
        {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            if first > last || last > CPUS_MAX {
                return None;
            }
            (first..=last).for_each(|cpu| set.insert(KernelCpu(cpu)));
        }
        Some(set)
    }

    /// Adds a CPU.
    pub fn insert(&mut self, cpu: KernelCpu) {
        let (word, bit) = (cpu.0 as usize / 64, cpu.0 % 64);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << bit;
    }

    /// Removes a CPU.
    pub fn remove(&mut self, cpu: KernelCpu) {
        if let Some(word) = self.words.get_mut(cpu.0 as usize / 64) {
            *word &= !(1 << (cpu.0 % 64));
        }
    }

    /// Whether the CPU is in the set.
    pub fn contains(&self, cpu: KernelCpu) -> bool {
        self.words
            .get(cpu.0 as usize / 64)
            .is_some_and(|word| word & (1 << (cpu.0 % 64)) != 0)
    }

    /// How many CPUs the set holds.
    pub fn len(&self) -> usize {
        self.words
            .iter()
            .map(|word| word.count_ones() as usize)
            .sum()
    }

    /// Whether the set holds no CPU.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// The lowest CPU.
    pub fn first(&self) -> Option<KernelCpu> {
        self.iter().next()
    }

    /// The CPUs in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = KernelCpu> + '_ {
        self.words.iter().enumerate().flat_map(|(index, &word)| {
            (0..64)
                .filter(move |bit| word & (1 << bit) != 0)
                .map(move |bit| KernelCpu(index as u32 * 64 + bit))
        })
    }

    /// The mask as the kernel takes it.
    pub(crate) fn words(&self) -> &[u64] {
        &self.words
    }

    /// A mask as the kernel gave it.
    pub(crate) fn from_words(words: Vec<u64>) -> KernelCpuSet {
        KernelCpuSet { words }
    }
}

impl FromIterator<KernelCpu> for KernelCpuSet {
    fn from_iter<I: IntoIterator<Item = KernelCpu>>(cpus: I) -> KernelCpuSet {
        let mut set = KernelCpuSet::new();
        cpus.into_iter().for_each(|cpu| set.insert(cpu));
        set
    }
}

/// Sets are equal when they hold the same CPUs, however long their masks are.
impl PartialEq for KernelCpuSet {
    fn eq(&self, other: &KernelCpuSet) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for KernelCpuSet {}

/// The kernel's list format.
impl fmt::Display for KernelCpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cpus = self.iter().map(|cpu| cpu.0).peekable();
        let mut separator = "";
        while let Some(first) = cpus.next() {
            let mut last = first;
            while let Some(next) = cpus.next_if_eq(&(last + 1)) {
                last = next;
            }
            write!(f, "{separator}{first}")?;
            if last > first {
                write!(f, "-{last}")?;
            }
            separator = ",";
        }
        Ok(())
    }
}

impl fmt::Debug for KernelCpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KernelCpuSet({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_and_written_in_the_kernels_format() {
        let set = KernelCpuSet::parse_list("0-3,8,10-11,4095\n").expect("well-formed");
        assert_eq!(set.len(), 8);
        assert!(set.contains(KernelCpu(4095)) && !set.contains(KernelCpu(9)));
        assert_eq!(set.to_string(), "0-3,8,10-11,4095");
        assert_eq!(KernelCpuSet::parse_list(""), Some(KernelCpuSet::new()));
    }

    #[test]
    fn a_malformed_list_is_none() {
        for list in ["x", "3-1", "1-", "0-4000000000"] {
            assert_eq!(KernelCpuSet::parse_list(list), None, "{list}");
        }
    }

    #[test]
    fn equality_ignores_the_length_of_the_mask() {
        let mut long = KernelCpuSet::single(KernelCpu(2));
        long.insert(KernelCpu(2000));
        long.remove(KernelCpu(2000));
        assert_eq!(long, KernelCpuSet::single(KernelCpu(2)));
        assert_eq!(long.first(), Some(KernelCpu(2)));
    }
}
