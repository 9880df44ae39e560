//! Ports: numbers, names, ranges, protocols.

use super::Recipe;

pub(crate) const PORTS: &[Recipe] = &[
    Recipe {
        claim: "an app opens one port to one other app",
        policies: r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: one-port, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: api}}}]
    ports: [{port: 8080, protocol: TCP}]
"#,
        table: "
            web  api  db   pay  ops  try  world
    api     p    *    *    *    *    *    *
    others  -    *    *    *    *    *    *
",
    },
    Recipe {
        claim: "a named port is each receiver's own port of that name",
        policies: r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: http, namespace: shop}
spec:
  podSelector: {}
  ingress:
  - ports: [{port: http}]
"#,
        table: "
            web  api  db   pay  ops  try  world
    world   *    -    -    *    *    *    *
    others  h    p    -    *    *    *    *
",
    },
    Recipe {
        claim: "a named port of an egress rule is the receiver's too",
        policies: r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: http-out, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Egress]
  egress:
  - to: [{podSelector: {}}, {namespaceSelector: {matchLabels: {purpose: production}}}]
    ports: [{port: http}]
"#,
        table: "
            web  api  db   pay  ops  try  world
    db      h    p    -    h    -    -    -
    others  *    *    *    *    *    *    *
",
    },
    Recipe {
        claim: "a range of ports ends with its last",
        policies: r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: range, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - ports: [{port: 5001, endPort: 5010}]
"#,
        table: "
            web  api  db   pay  ops  try  world
    world   *    *    -    *    *    *    *
    others  *    *    q    *    *    *    *
",
    },
    Recipe {
        claim: "a range that takes in both ends is one of its protocol alone",
        policies: r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: wide-range, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - ports: [{port: 53, endPort: 5011}]
"#,
        table: "
            web  api  db   pay  ops  try  world
    world   *    *    *    *    *    *    *
    others  *    *    hqr  *    *    *    *
",
    },
    Recipe {
        claim: "a UDP port opens no TCP port of the number",
        policies: r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: udp, namespace: shop}
spec:
  podSelector: {matchLabels: {app: api}}
  ingress:
  - ports: [{port: 53, protocol: UDP}, {port: 5001, protocol: UDP}]
"#,
        table: "
            web  api  db   pay  ops  try  world
    world   *    -    *    *    *    *    *
    others  *    du   *    *    *    *    *
",
    },
    Recipe {
        claim: "a protocol without a port is all its ports",
        policies: r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: all-udp, namespace: shop}
spec:
  podSelector: {matchLabels: {app: api}}
  ingress:
  - from: [{podSelector: {}}]
    ports: [{protocol: UDP}]
"#,
        table: "
            web  api  db   pay  ops  try  world
    web     *    du   *    *    *    *    *
    api     *    du   *    *    *    *    *
    db      *    du   *    *    *    *    *
    others  *    -    *    *    *    *    *
",
    },
    Recipe {
        claim: "a rule of SCTP is taken and opens neither TCP nor UDP",
        policies: r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: sctp, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - ports: [{port: 80, protocol: SCTP}, {port: 53, protocol: SCTP}]
"#,
        table: "
            web  api  db   pay  ops  try  world
    others  -    *    *    *    *    *    *
",
    },
    Recipe {
        claim: "ports of several rules go with their own peers",
        policies: r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: several, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: api}}}]
    ports: [{port: 5001}, {port: 5001, protocol: UDP}]
  - from: [{namespaceSelector: {matchLabels: {purpose: production}}}]
    ports: [{port: 80}]
  - ports: [{port: 5011}]
"#,
        table: "
            web  api  db   pay  ops  try  world
    api     *    *    qru  *    *    *    *
    pay     *    *    hr   *    *    *    *
    ops     *    *    hr   *    *    *    *
    world   *    *    -    *    *    *    *
    others  *    *    r    *    *    *    *
",
    },
];
