//! The hit path of a function: all code that may run before it returns without having taken a slow path.
//!
//! From the entry, both sides of each conditional jump are followed. A call of a function that the
//! rule lists as slow ends the branch that makes it; what comes after it belongs to the slow path. A
//! call of a function that the rule lists as part of the operation is followed into. Any other call
//! is a finding, and so is what cannot be followed. If no return is reached in this way, the slow
//! path is taken each time, and there is no hit path.

use std::collections::{BTreeMap, BTreeSet};

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind};

use super::image::Code;

/// Where a call leads.
#[derive(Clone, Copy)]
pub(super) enum Goal {
    Address(u64),
    Slot(u64),
    /// Through a register: known at run time only.
    Register,
}

/// What is called: its names, and where it begins, if it is in the program.
pub(super) struct Callee {
    pub(super) names: Vec<String>,
    pub(super) start: Option<u64>,
}

/// What the hit path does that a rule may forbid.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Finding {
    Locked,
    Fence,
    Call(Vec<String>),
    /// A system call, a trap, or a jump through a register.
    Odd,
}

/// A finding with its place: the offset in the function, and the instruction.
pub(super) type Found = (u64, String, Finding);

/// What was met on the way.
#[derive(Default)]
pub(super) struct Walk {
    /// The instructions followed.
    pub(super) instructions: usize,
    pub(super) returns: bool,
    pub(super) found: Vec<Found>,
    /// The functions to be followed into, by where they begin: a function that was compiled for several
    /// types is several functions with one name.
    pub(super) parts: BTreeMap<u64, String>,
    pub(super) slow: BTreeSet<String>,
}

/// How a rule takes the name of a function that is called.
pub(super) enum Called {
    Slow,
    Part,
    Forbidden,
}

/// Follows the hit path of one function.
pub(super) fn walk(
    code: &Code<'_>,
    callee: &dyn Fn(Goal) -> Callee,
    judge: &dyn Fn(&str) -> Called,
) -> Walk {
    let mut walk = Walk::default();
    let (mut open, mut seen) = (vec![code.start], BTreeSet::new());
    let end = code.start + code.bytes.len() as u64;
    while let Some(address) = open.pop() {
        if !seen.insert(address) {
            continue;
        }
        let offset = (address - code.start) as usize;
        let mut decoder =
            Decoder::with_ip(64, &code.bytes[offset..], address, DecoderOptions::NONE);
        let instruction = decoder.decode();
        let next = walk.step(&instruction, code.start, end, callee, judge);
        for target in next {
            if (code.start..end).contains(&target) {
                open.push(target);
            } else {
                walk.note(&instruction, code.start, Finding::Odd);
            }
        }
    }
    walk.found.sort_by_key(|(offset, ..)| *offset);
    walk
}

impl Walk {
    /// Looks at one instruction and says where the path goes on.
    fn step(
        &mut self,
        instruction: &Instruction,
        start: u64,
        end: u64,
        callee: &dyn Fn(Goal) -> Callee,
        judge: &dyn Fn(&str) -> Called,
    ) -> Vec<u64> {
        self.instructions += 1;
        let next = instruction.next_ip();
        let target = instruction.near_branch_target();
        let is_inside = (start..end).contains(&target);
        self.look(instruction, start);
        match instruction.flow_control() {
            FlowControl::Next => vec![next],
            FlowControl::Return => {
                self.returns = true;
                vec![]
            }
            FlowControl::UnconditionalBranch if is_inside => vec![target],
            FlowControl::ConditionalBranch if is_inside => vec![next, target],
            FlowControl::Call if is_system_call(instruction) => vec![next],
            // A jump out of the function is a call that returns to our caller.
            FlowControl::UnconditionalBranch | FlowControl::IndirectBranch => {
                let called = callee(goal(instruction));
                self.returns |= self.call(instruction, start, called, judge);
                vec![]
            }
            FlowControl::ConditionalBranch => {
                let called = callee(goal(instruction));
                self.returns |= self.call(instruction, start, called, judge);
                vec![next]
            }
            FlowControl::Call | FlowControl::IndirectCall => {
                let called = callee(goal(instruction));
                match self.call(instruction, start, called, judge) {
                    true => vec![next],
                    false => vec![],
                }
            }
            FlowControl::Interrupt | FlowControl::XbeginXabortXend | FlowControl::Exception => {
                vec![]
            }
        }
    }

    /// Notes what is forbidden about the instruction itself.
    fn look(&mut self, instruction: &Instruction, start: u64) {
        let has_memory = (0..instruction.op_count())
            .any(|operand| instruction.op_kind(operand) == OpKind::Memory);
        let mnemonic = instruction.mnemonic();
        let traps = matches!(
            instruction.flow_control(),
            FlowControl::Interrupt | FlowControl::XbeginXabortXend | FlowControl::Exception
        );
        if instruction.has_lock_prefix() || mnemonic == Mnemonic::Xchg && has_memory {
            self.note(instruction, start, Finding::Locked);
        } else if matches!(
            mnemonic,
            Mnemonic::Mfence | Mnemonic::Lfence | Mnemonic::Sfence
        ) {
            self.note(instruction, start, Finding::Fence);
        } else if traps || is_system_call(instruction) {
            self.note(instruction, start, Finding::Odd);
        }
    }

    /// Notes a call. Whether the path goes on behind it.
    fn call(
        &mut self,
        instruction: &Instruction,
        start: u64,
        called: Callee,
        judge: &dyn Fn(&str) -> Called,
    ) -> bool {
        for name in &called.names {
            match (judge(name), called.start) {
                (Called::Slow, _) => {
                    self.slow.insert(name.clone());
                    return false;
                }
                (Called::Part, Some(begin)) => {
                    self.parts.insert(begin, name.clone());
                    return true;
                }
                // A part that is not in the program cannot be followed.
                (Called::Part, None) | (Called::Forbidden, _) => {}
            }
        }
        // What follows a panic is no code of the path.
        let goes_on = !called.names.iter().any(|name| is_panic(name));
        self.note(instruction, start, Finding::Call(called.names));
        goes_on
    }

    fn note(&mut self, instruction: &Instruction, start: u64, finding: Finding) {
        let text = instruction.to_string();
        self.found.push((instruction.ip() - start, text, finding));
    }
}

fn is_system_call(instruction: &Instruction) -> bool {
    matches!(
        instruction.mnemonic(),
        Mnemonic::Syscall | Mnemonic::Sysenter
    )
}

fn goal(instruction: &Instruction) -> Goal {
    match instruction.op0_kind() {
        OpKind::NearBranch64 => Goal::Address(instruction.near_branch_target()),
        OpKind::Memory if instruction.is_ip_rel_memory_operand() => {
            Goal::Slot(instruction.ip_rel_memory_address())
        }
        _ => Goal::Register,
    }
}

/// Whether the function is one of the standard library's that begin a panic.
pub(super) fn is_panic(name: &str) -> bool {
    const FUNCTIONS: &[&str] = &[
        "std::panic::resume_unwind",
        "core::option::expect_failed",
        "core::option::unwrap_failed",
        "core::result::unwrap_failed",
        "core::cell::panic_already",
        "core::slice::index::slice_",
        "core::str::slice_error_fail",
        "alloc::raw_vec::capacity_overflow",
        "alloc::raw_vec::handle_error",
    ];
    let counts = name.contains("::panic_count::"); // asks whether there is one
    name.contains("::panicking::") && !counts
        || FUNCTIONS.iter().any(|known| name.starts_with(known))
}

#[cfg(test)]
mod tests {
    use super::{Called, Callee, Finding, Goal, Walk, walk};
    use crate::hotpath::image::Code;

    const START: u64 = 0x1000;
    const SLOW: u64 = 0x2000;

    /// Functions at 0x2000 are slow, those at 0x3000 are parts, others are forbidden.
    fn walked(bytes: &[u8]) -> Walk {
        let callee = |goal| {
            let (name, start) = match goal {
                // Four functions of one name.
                Goal::Address(address @ 0x3000..0x3004) => ("0x3000".into(), Some(address)),
                Goal::Address(address) => (format!("{address:#x}"), Some(address)),
                Goal::Slot(address) => (format!("slot {address:#x}"), None),
                Goal::Register => ("a register".to_string(), None),
            };
            let names = vec![name];
            Callee { names, start }
        };
        let judge = |name: &str| match name {
            "0x2000" => Called::Slow,
            "0x3000" => Called::Part,
            _ => Called::Forbidden,
        };
        walk(
            &Code {
                start: START,
                bytes,
            },
            &callee,
            &judge,
        )
    }

    /// `call` or `jmp`, by opcode, from `offset` to `target`.
    fn transfer(opcode: u8, offset: u64, target: u64) -> Vec<u8> {
        let distance = (target as i64 - (START + offset + 5) as i64) as i32;
        [&[opcode][..], &distance.to_le_bytes()].concat()
    }

    fn findings(walk: &Walk) -> Vec<(u64, &Finding)> {
        let of = |found| -> (u64, &Finding) {
            let (offset, _, finding): &(u64, String, Finding) = found;
            (*offset, finding)
        };
        walk.found.iter().map(of).collect()
    }

    #[test]
    fn plain_loads_and_stores_pass() {
        // inc dword [rax]; xchg ecx, edx; ret
        let walk = walked(&[0xff, 0x00, 0x87, 0xd1, 0xc3]);
        assert_eq!((walk.returns, walk.instructions), (true, 3));
        assert_eq!(findings(&walk), []);
    }

    #[test]
    fn a_lock_prefix_and_an_exchange_with_memory_are_found() {
        // lock inc dword [rax]; xchg ecx, [rax]; ret
        let walk = walked(&[0xf0, 0xff, 0x00, 0x87, 0x08, 0xc3]);
        assert_eq!(
            findings(&walk),
            [(0, &Finding::Locked), (3, &Finding::Locked)]
        );
    }

    #[test]
    fn fences_are_found() {
        // mfence; lfence; sfence; ret
        let walk = walked(&[0x0f, 0xae, 0xf0, 0x0f, 0xae, 0xe8, 0x0f, 0xae, 0xf8, 0xc3]);
        let fences = [0, 3, 6].map(|offset| (offset, &Finding::Fence));
        assert_eq!(findings(&walk), fences);
    }

    #[test]
    fn a_jump_through_a_table_is_found() {
        // jmp [rax * 8]; ret
        let walk = walked(&[0xff, 0x24, 0xc5, 0, 0, 0, 0, 0xc3]);
        let jump = Finding::Call(vec!["a register".into()]);
        assert_eq!(findings(&walk), [(0, &jump)]);
    }

    #[test]
    fn a_call_is_found_and_what_follows_it_is_looked_at() {
        // call 0x4000; lock inc dword [rax]; ret
        let bytes = [&transfer(0xe8, 0, 0x4000)[..], &[0xf0, 0xff, 0x00, 0xc3]].concat();
        let walk = walked(&bytes);
        let call = Finding::Call(vec!["0x4000".into()]);
        assert_eq!(findings(&walk), [(0, &call), (5, &Finding::Locked)]);
    }

    #[test]
    fn behind_a_slow_call_anything_goes() {
        // je +1; ret; call slow; lock inc dword [rax]; ret
        let slow = transfer(0xe8, 3, SLOW);
        let walk = walked(&[&[0x74, 0x01, 0xc3][..], &slow, &[0xf0, 0xff, 0x00, 0xc3]].concat());
        assert!(walk.returns && walk.slow.contains("0x2000"));
        assert_eq!(findings(&walk), []);
    }

    #[test]
    fn a_slow_call_that_no_jump_avoids_leaves_no_hit_path() {
        assert!(!walked(&[&transfer(0xe8, 0, SLOW)[..], &[0xc3]].concat()).returns);
        assert!(
            !walked(&transfer(0xe9, 0, SLOW)).returns,
            "a jump is a call, too"
        );
    }

    #[test]
    fn a_part_of_the_operation_is_named_for_following() {
        let walk = walked(&transfer(0xe9, 0, 0x3000));
        assert!(walk.returns && walk.parts.contains_key(&0x3000));
    }

    #[test]
    fn parts_that_share_a_name_are_different_parts() {
        let calls = [transfer(0xe8, 0, 0x3000), transfer(0xe9, 5, 0x3001)].concat();
        let starts: Vec<u64> = walked(&calls).parts.into_keys().collect();
        assert_eq!(starts, [0x3000, 0x3001]);
    }

    #[test]
    fn system_calls_traps_and_calls_through_registers_are_found() {
        // syscall; call rax; ud2
        let walk = walked(&[0x0f, 0x05, 0xff, 0xd0, 0x0f, 0x0b]);
        let call = Finding::Call(vec!["a register".into()]);
        assert_eq!(
            findings(&walk),
            [(0, &Finding::Odd), (2, &call), (4, &Finding::Odd)]
        );
        assert!(!walk.returns);
    }
}
