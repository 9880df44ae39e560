//! What may come in: peers by label, namespace and expression.

use super::Recipe;

pub(crate) const INGRESS: &[Recipe] = &[
    Recipe {
        claim: "to deny everything to an app closes that app alone",
        policies: r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed-web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress: []
"#,
        table: "
            web  api  db   pay  ops  try  world
    others  -    *    *    *    *    *    *
",
    },
    Recipe {
        claim: "traffic to an app is limited to one other app of its namespace",
        policies: r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: api-to-db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: api}}}]
"#,
        table: "
            web  api  db   pay  ops  try  world
    api     *    *    *    *    *    *    *
    others  *    *    -    *    *    *    *
",
    },
    Recipe {
        claim: "everything may reach an app that a second policy opens, in a namespace that is closed",
        policies: r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: shop}
spec:
  podSelector: {}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: open-web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress: [{}]
"#,
        table: "
            web  api  db   pay  ops  try  world
    others  *    -    -    *    *    *    *
",
    },
    Recipe {
        claim: "a namespace is closed to everybody, its own pods too",
        policies: r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: shop}
spec:
  podSelector: {}
"#,
        table: "
            web  api  db   pay  ops  try  world
    others  -    -    -    *    *    *    *
",
    },
    Recipe {
        claim: "a namespace is closed to all but its own pods",
        policies: r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: own, namespace: shop}
spec:
  podSelector: {}
  ingress:
  - from: [{podSelector: {}}]
"#,
        table: "
            web  api  db   pay  ops  try  world
    web     *    *    *    *    *    *    *
    api     *    *    *    *    *    *    *
    db      *    *    *    *    *    *    *
    others  -    -    -    *    *    *    *
",
    },
    Recipe {
        claim: "an app is open to the pods of all namespaces, and to nobody outside",
        policies: r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: any-namespace, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - from: [{namespaceSelector: {}}]
"#,
        table: "
            web  api  db   pay  ops  try  world
    world   -    *    *    *    *    *    *
    others  *    *    *    *    *    *    *
",
    },
    Recipe {
        claim: "a namespace is let in by its label",
        policies: r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: production, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - from: [{namespaceSelector: {matchLabels: {purpose: production}}}]
"#,
        table: "
            web  api  db   pay  ops  try  world
    pay     *    *    *    *    *    *    *
    ops     *    *    *    *    *    *    *
    others  -    *    *    *    *    *    *
",
    },
    Recipe {
        claim: "a namespace is let in by its name, which is a label of it",
        policies: r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: by-name, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: test}}}]
"#,
        table: "
            web  api  db   pay  ops  try  world
    try     *    *    *    *    *    *    *
    others  -    *    *    *    *    *    *
",
    },
    Recipe {
        claim: "of another namespace only the pods with a label are let in",
        policies: r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: monitoring, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - from:
    - namespaceSelector: {matchLabels: {purpose: production}}
      podSelector: {matchLabels: {type: monitoring}}
"#,
        table: "
            web  api  db   pay  ops  try  world
    ops     *    *    *    *    *    *    *
    others  -    *    *    *    *    *    *
",
    },
    Recipe {
        claim: "several peers of a rule add up",
        policies: r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: either, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - from:
    - podSelector: {matchLabels: {app: api}}
    - namespaceSelector: {matchLabels: {purpose: testing}}
"#,
        table: "
            web  api  db   pay  ops  try  world
    api     *    *    *    *    *    *    *
    try     *    *    *    *    *    *    *
    others  *    *    -    *    *    *    *
",
    },
    Recipe {
        claim: "several policies of one app add up",
        policies: r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: first, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: api}}}]
    ports: [{port: 80}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: second, namespace: shop}
spec:
  podSelector: {matchLabels: {tier: back}}
  ingress:
  - from: [{podSelector: {matchExpressions: [{key: app, operator: In, values: [api, web]}]}}]
    ports: [{port: 8080}]
"#,
        table: "
            web  api  db   pay  ops  try  world
    web     *    p    p    *    *    *    *
    api     *    p    hp   *    *    *    *
    others  *    -    -    *    *    *    *
",
    },
    Recipe {
        claim: "expressions select by presence, absence and exclusion",
        policies: r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: expressions, namespace: shop}
spec:
  podSelector: {matchExpressions: [{key: tier, operator: NotIn, values: [front]}]}
  ingress:
  - from:
    - namespaceSelector: {matchExpressions: [{key: purpose, operator: Exists}]}
      podSelector: {matchExpressions: [{key: app, operator: DoesNotExist}]}
"#,
        table: "
            web  api  db   pay  ops  try  world
    ops     *    *    *    *    *    *    *
    others  *    -    -    *    *    *    *
",
    },
];
