//! Real container runtimes by CNI: podman and containerd's `ctr` start containers on the hosts of a lab, and `sealane-cni` is
//! called with every verb and version as a runtime would.
//!
//! Needs root, and podman, containerd, runc, curl and busybox-static; what is missing fails a proof by its package's name. Each
//! proof has a lab of its own and leaves nothing of it: no container, namespace, mount, control group or process.
#![allow(clippy::unwrap_used)]

mod containerd;
mod ctr;
mod direct;
#[path = "../fabric/mod.rs"]
mod fabric;
mod image;
mod plugin;
mod podman;
mod pods;
mod refusals;
mod traces;

/// In the project `shop`, containers of the app `db` hear those of the app `web` alone, at this port.
fn policy(port: u16) -> String {
    format!(
        "apiVersion: v1
kind: Namespace
metadata: {{name: shop}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: db, namespace: shop}}
spec:
  podSelector: {{matchLabels: {{app: db}}}}
  ingress:
  - from: [{{podSelector: {{matchLabels: {{app: web}}}}}}]
    ports: [{{port: {port}}}]
"
    )
}
