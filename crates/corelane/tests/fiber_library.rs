//! A C library with thread-locals that is loaded while the runtime runs, so that its variables are found
//! through `__tls_get_addr`, in blocks made when a thread first asks. The table of attacks is in
//! `docs/fibers.md`.

mod common;
#[path = "common/stir.rs"]
mod stir;

use std::collections::BTreeSet;
use std::ffi::{CString, c_int, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{prio, runtime};
use corelane::task;
use stir::{crowd, stir};

const SOURCE: &str = r"
static __thread int value = 7;
static __thread char block[5000];
int *value_address(void) { return &value; }
int add(int number) { block[4999] = (char)number; value += number; return value; }
int last(void) { return block[4999]; }
";

/// Compiles the library into a new folder; says loudly why not.
fn compile() -> Option<PathBuf> {
    let folder =
        std::env::temp_dir().join(format!("corelane-fiber-library-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (source, library) = (folder.join("library.c"), folder.join("library.so"));
    std::fs::write(&source, SOURCE).unwrap();
    let mut cc = Command::new("cc");
    cc.args([
        "-shared",
        "-fPIC",
        "-ftls-model=global-dynamic",
        "-O1",
        "-o",
    ]);
    match cc.arg(&library).arg(&source).status() {
        Ok(status) if status.success() => Some(library),
        failed => {
            eprintln!("skipped: this test needs a C compiler, and `cc` says {failed:?}");
            None
        }
    }
}

#[derive(Clone, Copy)]
struct Library {
    value_address: extern "C" fn() -> *mut c_int,
    add: extern "C" fn(c_int) -> c_int,
    last: extern "C" fn() -> c_int,
}

fn load(path: &Path) -> Library {
    let path = CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: a library without initialisers, which stays loaded; the symbols have the types above.
    unsafe {
        let handle = libc::dlopen(path.as_ptr(), libc::RTLD_NOW);
        assert!(!handle.is_null(), "dlopen");
        let symbol = |name: &std::ffi::CStr| {
            let address = libc::dlsym(handle, name.as_ptr());
            assert!(!address.is_null(), "dlsym");
            address
        };
        Library {
            value_address: std::mem::transmute::<*mut c_void, extern "C" fn() -> *mut c_int>(
                symbol(c"value_address"),
            ),
            add: std::mem::transmute::<*mut c_void, extern "C" fn(c_int) -> c_int>(symbol(c"add")),
            last: std::mem::transmute::<*mut c_void, extern "C" fn() -> c_int>(symbol(c"last")),
        }
    }
}

#[test]
fn thread_locals_of_a_library_loaded_by_a_task_are_the_fibers_own_and_do_not_move() {
    let Some(path) = compile() else { return };
    let folder = path.parent().unwrap().to_owned();
    let runtime = runtime();
    let cpus = runtime.cpus();
    let library = runtime.spawn(prio(50), move || {
        stir(cpus);
        let library = load(&path);
        stir(cpus);
        library
    });
    let library = library.join().unwrap();
    let addresses = crowd(&runtime, 12, move |number, cpus| {
        let address = (library.value_address)();
        // SAFETY: the variable of this very thread; nobody else has its address.
        let start = unsafe { address.read() };
        let mut expected = start; // 7, or what an earlier task of this fiber left
        task::sleep(std::time::Duration::from_millis(1)); // until all tasks have fibers of their own
        for step in 0..50 {
            let added = (number as c_int + 1) * (step % 3);
            expected += added;
            assert_eq!((library.add)(added), expected);
            stir(cpus);
            assert_eq!((library.value_address)(), address, "the variable moved");
            // SAFETY: as above.
            assert_eq!(unsafe { address.read() }, expected);
            assert_eq!((library.last)(), c_int::from(added as i8));
            assert_eq!(task::native(|| (library.value_address)()), address);
        }
        (address as usize, std::thread::current().id())
    });
    let threads: BTreeSet<String> = addresses.iter().map(|(_, id)| format!("{id:?}")).collect();
    let distinct: BTreeSet<usize> = addresses.iter().map(|(address, _)| *address).collect();
    assert_eq!(distinct.len(), threads.len(), "two fibers share a variable");
    // A failure to tidy up is no failure of what is tested.
    let _ = std::fs::remove_dir_all(folder);
}
