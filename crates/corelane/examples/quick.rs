//! quick perf probe (scratch)
use corelane::*;
use std::time::*;
fn main() {
    let rt = Runtime::builder().cpus(Cpus::Count(1)).build().unwrap();
    println!("{}", rt.status());
    let n = 200_000u32;
    let p = Priority::new(50).unwrap();
    let t = rt.spawn(p, move || {
        let a = task::spawn(Priority::new(50).unwrap(), move || for _ in 0..n { task::yield_now() });
        let b = task::spawn(Priority::new(50).unwrap(), move || for _ in 0..n { task::yield_now() });
        let s = Instant::now();
        a.join().unwrap(); b.join().unwrap();
        println!("yield {:.1} ns", s.elapsed().as_nanos() as f64 / (2 * n) as f64);
        let s = Instant::now();
        for _ in 0..n { task::spawn(Priority::new(60).unwrap(), || 1).join().unwrap(); }
        println!("spawn+join {:.1} ns", s.elapsed().as_nanos() as f64 / n as f64);
        let s = Instant::now();
        for _ in 0..n { task::yield_now() }
        println!("yield alone {:.1} ns", s.elapsed().as_nanos() as f64 / n as f64);
        let s = Instant::now();
        for _ in 0..n*10 { let g = migrate_disable(); std::hint::black_box(g.cpu()); }
        println!("guard {:.2} ns", s.elapsed().as_nanos() as f64 / (n*10) as f64);
        let s = Instant::now();
        for _ in 0..n*10 { task::checkpoint() }
        println!("checkpoint {:.2} ns", s.elapsed().as_nanos() as f64 / (n*10) as f64);
    });
    t.join().unwrap();
    println!("{:?}", rt.stats());
    let th = Instant::now();
    let m = 2000; for _ in 0..m { std::thread::spawn(|| 1).join().unwrap(); }
    println!("std spawn+join {:.0} ns", th.elapsed().as_nanos() as f64 / m as f64);
}
