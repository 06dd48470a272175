//! Counts the requests to a daemon, and measures the delay until its start is noticed:
//! `bench-daemon STAND_IN TIMES`. Prints one line each: requests and connections of an attach;
//! requests and connections of a switch of networks; the nanoseconds from ready to noticed, for
//! each time.

#[cfg(unix)]
#[allow(clippy::print_stdout, reason = "its one purpose")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [program, times] = args.as_slice() else { return Err("bench-daemon STAND_IN TIMES".into()) };
    let (program, times) = (program.as_ref(), times.parse::<usize>()?);
    let home = bench::daemons::Home::new();
    let running = home.start(program);
    let count = |what: &dyn Fn()| {
        let _ = home.asked();
        what();
        let asked = home.asked();
        println!("{} {}", asked.requests, asked.connections);
    };
    count(&|| drop(home.attach()));
    home.switch("one");
    count(&|| home.switch("two"));
    drop(running);
    let noticed = (0..times).map(|_| home.noticed(program).as_nanos().to_string());
    println!("{}", noticed.collect::<Vec<_>>().join(" "));
    Ok(())
}

#[cfg(not(unix))]
fn main() {}
