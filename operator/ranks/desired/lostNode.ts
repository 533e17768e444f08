/** How long our pods stay on a node that stopped reporting. Kubernetes' own default is five minutes. */
const lostNodeSeconds = 30;

export const lostNodeTolerations = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"].map(
  (key) => ({ key, operator: "Exists", effect: "NoExecute", tolerationSeconds: lostNodeSeconds }) as const,
);
