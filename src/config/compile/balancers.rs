//! Load balancers that speak the PROXY protocol.

use ipnet::IpNet;

use super::super::problem::Problem;
use super::Compiler;

impl Compiler<'_> {
    /// The networks of `proxy_protocol` of the listener at `at`.
    pub(super) fn balancers(&mut self, at: &str, networks: &[String]) -> Vec<IpNet> {
        let at = format!("{at}.proxy_protocol");
        if networks.is_empty() {
            let what = "is empty, so nobody could connect";
            self.problem(&at, what, "write the networks of the load balancers, or delete it");
        }
        let networks = self.networks(&at, networks);
        if networks.iter().any(|network| network.prefix_len() == 0) {
            let what = "lets anybody say who they are: an address counts for limits and in logs";
            let help = "write the networks of the load balancers alone";
            self.notes.push(Problem::new(at, what, help));
        }
        networks
    }
}
