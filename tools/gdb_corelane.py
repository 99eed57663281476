"""Suspended tasks in gdb's backtraces.

A suspended task has a stack and no registers: they lie on that stack, and the thread of its fiber is parked
above it. gdb therefore shows the parked thread, and nothing of the task. With this file loaded,

    gdb -x tools/gdb_corelane.py -p PID -ex 'thread apply all bt'

the frames of the task stand between those of its parked thread, as if that thread had called them:

    #0  corelane_os::fiber::lender::lend      the thread waits to be needed
    #1  ... suspend ...                       the task, from where it waits
    #n  stack_init_trampoline                 to its first frame
    #m  corelane_os::fiber::lender::serve     the thread again

Nothing is written to the process. It needs debug information of corelane-os (`debug = 2`, or `true`).
A running task needs none of this: it is found on the thread of its carrier.
"""

import gdb
from gdb.unwinder import Unwinder, register_unwinder

LENDER = "corelane_os::fiber::lender::Lender"
LEND = "corelane_os::fiber::lender::lend"
TRAMPOLINE = "stack_init_trampoline"
WORD = gdb.lookup_type("unsigned long")


class FrameId:
    def __init__(self, sp, pc):
        self.sp = gdb.Value(sp).cast(WORD)
        self.pc = gdb.Value(pc).cast(WORD)


def word_at(address):
    return gdb.Value(address).cast(WORD.pointer()).dereference()


def field(value, *names):
    for name in names:
        value = value[name]
    return value


def is_some(option):
    return any(f.name == "Some" for f in option.type.fields())


class Suspended(Unwinder):
    """Leads from a parked thread into its suspended task, and from the task's first frame back."""

    def __init__(self):
        super().__init__("corelane")
        # By thread: where it really is, while its task is being unwound.
        self.parked = {}
        gdb.events.cont.connect(lambda _: self.parked.clear())

    def __call__(self, frame):
        pc = int(frame.read_register("rip"))
        name = self.function_at(pc)
        if name.startswith(LEND):
            return self.enter(frame, pc)
        if name == TRAMPOLINE:
            return self.leave(frame, pc)
        return None

    @staticmethod
    def function_at(pc):
        symbol = gdb.execute("info symbol %d" % pc, to_string=True)
        return symbol.split(" ")[0]

    def enter(self, frame, pc):
        rsp, rbx = int(frame.read_register("rsp")), int(frame.read_register("rbx"))
        task = self.stack_pointer_of_task(rbx)
        if task is None:
            return None
        self.parked[gdb.selected_thread().ptid] = (rsp, frame.read_register("rbp"))
        # What corosensei's `switch_yield` pushed: rbp, rbx, the address to go on at.
        return self.caller(frame, FrameId(rsp, pc), rip=word_at(task), rbx=word_at(task + 8),
                           rbp=word_at(task + 16), rsp=task + 24)

    def leave(self, frame, pc):
        thread = gdb.selected_thread().ptid
        if thread not in self.parked:
            return None
        lend, rbp = self.parked[thread]
        # `lend` pushed rbx; above it lies its return address.
        sp = int(frame.read_register("rsp"))
        return self.caller(frame, FrameId(sp, pc), rip=word_at(lend + 8), rbx=word_at(lend),
                           rbp=rbp, rsp=lend + 16)

    @staticmethod
    def caller(frame, own, **registers):
        info = frame.create_unwind_info(own)
        for name, value in registers.items():
            info.add_saved_register(name, gdb.Value(value).cast(WORD))
        return info

    @staticmethod
    def stack_pointer_of_task(word):
        """The stack pointer of a task that has started and is suspended, else None."""
        kind = gdb.lookup_type(LENDER)
        offset = [f.bitpos // 8 for f in kind.fields() if f.name == "word"][0]
        lender = gdb.Value(word - offset).cast(kind.pointer()).dereference()
        if not field(lender, "started", "value", "value") or field(lender, "finished", "value", "value"):
            return None
        body = field(lender, "body", "value")
        if not is_some(body):
            return None
        pointer = field(body, "Some", "__0", "stack_ptr")
        if not is_some(pointer):
            return None  # the task runs, on a carrier
        return int(field(pointer, "Some", "__0", "__0", "__0"))


register_unwinder(None, Suspended(), replace=True)
