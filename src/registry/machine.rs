//! How much memory this machine has. Linux says so in `/proc/meminfo` (proc(5)); elsewhere a modest
//! machine is assumed, and operators set sizes themselves.

use crate::config::Device;
use crate::model::executor::cuda;

/// Assumed where the system does not say, in bytes.
const ASSUMED: u64 = 8 << 30;

/// Bytes of memory in all.
fn total_memory() -> u64 {
    read("MemTotal:").unwrap_or(ASSUMED)
}

/// Bytes for all models, unless an operator says otherwise: those of the GPU that they run on, else
/// three quarters of the machine's.
pub(super) fn memory_for_models(device: Device) -> u64 {
    let gpu = match device {
        Device::Cuda(gpu) => Some(gpu),
        Device::Auto => cuda::IS_BUILT.then_some(0),
        Device::Cpu => None,
    };
    // One that cannot be used is spoken of when a model is loaded.
    let of_gpu = gpu.and_then(|gpu| cuda::total_memory(gpu).ok());
    of_gpu.unwrap_or_else(|| total_memory() / 4 * 3)
}

/// Bytes that can be taken without pushing others out.
pub(super) fn available_memory() -> u64 {
    read("MemAvailable:").unwrap_or(ASSUMED / 2)
}

fn read(field: &str) -> Option<u64> {
    parse(&std::fs::read_to_string("/proc/meminfo").ok()?, field)
}

fn parse(meminfo: &str, field: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn reads_a_field_in_bytes() {
        let text = "MemTotal:       24610096 kB\nMemFree:          1 kB\nMemAvailable:  2 kB\n";
        assert_eq!(parse(text, "MemTotal:"), Some(24_610_096 * 1024));
        assert_eq!(parse(text, "MemAvailable:"), Some(2048));
        assert_eq!(parse(text, "SwapTotal:"), None);
        assert_eq!(parse("MemTotal: many kB", "MemTotal:"), None);
    }
}
