# The control plane as an image that drives the host's Docker Engine. `fnbox images build
# control-plane` gives the build wheels that were fetched outside it; without them pip
# fetches here.
ARG BASE=debian:trixie-slim
FROM ${BASE}
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 python3-venv \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
 && python3 -m venv /opt/venv
COPY requirements.lock wheels* /tmp/wheels/
RUN offline="$(ls /tmp/wheels/*.whl >/dev/null 2>&1 && echo '--no-index --find-links=/tmp/wheels' || true)" \
 && /opt/venv/bin/pip install --no-cache-dir --require-hashes $offline -r /tmp/wheels/requirements.lock \
 && rm -rf /tmp/wheels
COPY Dockerfile requirements.lock /opt/fnbox/
COPY sandbox /opt/fnbox/sandbox
COPY images /opt/fnbox/images
COPY runtime /opt/fnbox/runtime
RUN /opt/venv/bin/python -m compileall -q /opt/fnbox/sandbox \
 && printf '#!/bin/sh\nexec /opt/venv/bin/python -m sandbox "$@"\n' > /usr/local/bin/fnbox \
 && chmod 755 /usr/local/bin/fnbox
# 0.0.0.0 is every address of the container alone: who else may reach it, `docker run -p` says.
ENV PYTHONPATH=/opt/fnbox \
    PYTHONUNBUFFERED=1 \
    FNBOX_HOST=0.0.0.0 \
    FNBOX_INSECURE=true \
    FNBOX_STATE_DIR=/var/lib/fnbox
EXPOSE 4566
VOLUME /var/lib/fnbox
STOPSIGNAL SIGTERM
ENTRYPOINT ["fnbox"]
CMD ["serve"]
