//! What this machine or process lacks: file descriptors, memory, processes, ports. That is never a
//! lead's fault, so the lead comes back later and no attempt is counted.

use std::error::Error;
use std::fs::File;
use std::io;
use std::net::UdpSocket;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::io::Errno;

/// How long a lead goes away for, up to twice that.
const PAUSE: Duration = Duration::from_secs(2);
/// Time between two words about it.
const REMINDER: Duration = Duration::from_secs(5);

/// Whether an error, or what caused it, says that something is lacking here.
pub(super) fn is_cause_of(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            if is(error) {
                return true;
            }
            // The `source` of such an error is that of its inside, which would be passed over.
            if let Some(inner) = error.get_ref() {
                next = Some(inner);
                continue;
            }
        }
        next = error.source();
    }
    // The resolver of the C library says "Temporary failure in name resolution" for it.
    is_out_of_files()
}

/// The same for an error of the system.
pub(super) fn is(error: &io::Error) -> bool {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN | Errno::NOBUFS) => true,
        Some(Errno::ADDRNOTAVAIL) => !is_without_ipv6() || is_short_of_ports(),
        _ => false,
    }
}

fn is_out_of_files() -> bool {
    File::open("/dev/null").is_err_and(|error| {
        matches!(
            Errno::from_io_error(&error),
            Some(Errno::MFILE | Errno::NFILE)
        )
    })
}

/// Without IPv6 every connection to such an address fails as if there were no port left.
fn is_without_ipv6() -> bool {
    UdpSocket::bind("[::1]:0").is_err()
}

/// Whether at least half of the ports that connections begin from are in use.
fn is_short_of_ports() -> bool {
    let read = |name| std::fs::read_to_string(name).unwrap_or_default();
    let range = read("/proc/sys/net/ipv4/ip_local_port_range");
    let mut range = range
        .split_whitespace()
        .filter_map(|n| n.parse::<u64>().ok());
    let (Some(first), Some(last)) = (range.next(), range.next()) else {
        return true;
    };
    used_ports(&read("/proc/net/sockstat")) >= last.saturating_sub(first).div_ceil(2)
}

/// `TCP: inuse 4 orphan 0 tw 2 alloc 6 mem 1`
fn used_ports(sockstat: &str) -> u64 {
    let tcp = sockstat.lines().find_map(|line| line.strip_prefix("TCP:"));
    let words: Vec<&str> = tcp.unwrap_or_default().split_whitespace().collect();
    let of = |name| {
        let pair = words.chunks_exact(2).find(|pair| pair[0] == name);
        pair.and_then(|pair| pair[1].parse::<u64>().ok())
            .unwrap_or(0)
    };
    of("inuse") + of("tw")
}

/// Says what is lacking, now and again; returns how long the lead goes away for.
pub(super) fn tell(station: &str, error: &str) -> Duration {
    static TOLD: Mutex<(Option<Instant>, u64)> = Mutex::new((None, 0));
    let mut told = TOLD
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    told.1 += 1;
    if told.0.is_none_or(|at| at.elapsed() >= REMINDER) {
        tracing::warn!(
            station,
            leads = told.1,
            "this machine lacks resources, leads are postponed: {error}; raise the limit (ulimit \
             -n, pids, ports, memory) or lower CONCURRENCY"
        );
        *told = (Some(Instant::now()), 0);
    }
    PAUSE.mul_f64(1.0 + fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lacking_is_found_however_deep_it_stands() {
        let lack = || io::Error::from_raw_os_error(Errno::MFILE.raw_os_error());
        let wrapped = io::Error::other(io::Error::other(lack()));
        assert!(is_cause_of(&lack()) && is_cause_of(&wrapped));
        let refused = io::Error::from_raw_os_error(Errno::CONNREFUSED.raw_os_error());
        assert!(!is_cause_of(&refused) && !is_cause_of(&io::Error::other("no")));
    }

    #[test]
    fn ports_are_counted_with_those_that_wait() {
        let text =
            "sockets: used 9\nTCP: inuse 4 orphan 0 tw 2 alloc 6 mem 1\nUDP: inuse 70 mem 0\n";
        assert_eq!(used_ports(text), 6);
        assert_eq!(used_ports(""), 0);
    }
}
