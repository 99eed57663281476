//! A task overflows its stack: carried, after a move, in a native part, or in the background. The embedder
//! has a handler of its own for SIGSEGV or not, installed before the runtime was built or after.

use std::time::Duration;

use corelane::{Runtime, task};
use corelane_attacks::{asked, builder, dig, embedder, only, prio};

fn overflow() {
    println!("{}", dig(0));
}

fn move_and_overflow(cpus: usize) {
    let own = task::current().expect("this is a task");
    let first = own.cpu();
    own.set_affinity(&only(cpus, cpus - 1))
        .expect("a CPU of this runtime");
    own.set_affinity(&only(cpus, 0))
        .expect("a CPU of this runtime");
    own.set_affinity(&only(cpus, cpus - 1))
        .expect("a CPU of this runtime");
    eprintln!("moved from {first} to {}", own.cpu());
    overflow();
}

fn attack(runtime: &Runtime) {
    let cpus = runtime.cpus();
    let digger = runtime.build_task().name("digger").priority(prio(50));
    let handle = match std::env::args().nth(1).as_deref() {
        Some("carried") => digger.spawn(overflow),
        Some("moved") => digger
            .affinity(only(cpus, 0))
            .spawn(move || move_and_overflow(cpus)),
        Some("native-part") => digger.spawn(|| task::native(overflow)),
        Some("background") => runtime.spawn_background(overflow),
        other => panic!("an attack is named first, not {other:?}"),
    };
    drop(handle.join());
}

fn main() {
    if asked("handler-before") {
        embedder::install();
    }
    let runtime = builder().build().expect("a runtime on all CPUs");
    if asked("handler-off-stack") {
        embedder::install_off_the_alternate_stack();
    }
    // Others are suspended and running: the report must name the right one.
    let bystander = runtime.build_task().name("bystander").priority(prio(60));
    let _waits = bystander.spawn(task::park);
    if asked("handler-after") {
        embedder::install();
    }
    if asked("handler-alone") {
        embedder::install_alone();
    }
    std::thread::sleep(Duration::from_millis(5));
    attack(&runtime);
}
