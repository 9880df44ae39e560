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
    web     -    *    *    *    *    *    *
    api     p    *    *    *    *    *    *
    db      -    *    *    *    *    *    *
    pay     -    *    *    *    *    *    *
    ops     -    *    *    *    *    *    *
    try     -    *    *    *    *    *    *
    world   -    *    *    *    *    *    *
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
    web     h    p    -    *    *    *    *
    api     h    p    -    *    *    *    *
    db      h    p    -    *    *    *    *
    pay     h    p    -    *    *    *    *
    ops     h    p    -    *    *    *    *
    try     h    p    -    *    *    *    *
    world   *    -    -    *    *    *    *
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
    web     *    *    *    *    *    *    *
    api     *    *    *    *    *    *    *
    db      h    p    -    h    -    -    -
    pay     *    *    *    *    *    *    *
    ops     *    *    *    *    *    *    *
    try     *    *    *    *    *    *    *
    world   *    *    *    *    *    *    *
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
    web     *    *    q    *    *    *    *
    api     *    *    q    *    *    *    *
    db      *    *    q    *    *    *    *
    pay     *    *    q    *    *    *    *
    ops     *    *    q    *    *    *    *
    try     *    *    q    *    *    *    *
    world   *    *    -    *    *    *    *
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
    web     *    *    hqr  *    *    *    *
    api     *    *    hqr  *    *    *    *
    db      *    *    hqr  *    *    *    *
    pay     *    *    hqr  *    *    *    *
    ops     *    *    hqr  *    *    *    *
    try     *    *    hqr  *    *    *    *
    world   *    *    *    *    *    *    *
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
    web     *    du   *    *    *    *    *
    api     *    du   *    *    *    *    *
    db      *    du   *    *    *    *    *
    pay     *    du   *    *    *    *    *
    ops     *    du   *    *    *    *    *
    try     *    du   *    *    *    *    *
    world   *    -    *    *    *    *    *
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
    pay     *    -    *    *    *    *    *
    ops     *    -    *    *    *    *    *
    try     *    -    *    *    *    *    *
    world   *    -    *    *    *    *    *
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
    web     -    *    *    *    *    *    *
    api     -    *    *    *    *    *    *
    db      -    *    *    *    *    *    *
    pay     -    *    *    *    *    *    *
    ops     -    *    *    *    *    *    *
    try     -    *    *    *    *    *    *
    world   -    *    *    *    *    *    *
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
    web     *    *    r    *    *    *    *
    api     *    *    qru  *    *    *    *
    db      *    *    r    *    *    *    *
    pay     *    *    hr   *    *    *    *
    ops     *    *    hr   *    *    *    *
    try     *    *    r    *    *    *    *
    world   *    *    -    *    *    *    *
",
    },
];
