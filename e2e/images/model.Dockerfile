# Model weights as an image: an init container copies /model into the rank's volume, so the base needs `cp`.
ARG BASE=busybox:1.37
FROM ${BASE}
COPY *.gguf /model/
USER 65532:65532
