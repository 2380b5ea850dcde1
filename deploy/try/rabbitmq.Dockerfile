# Stands in for the official `rabbitmq:management` image where that cannot be had: the same user and folders, from Debian's packages.
ARG BASE
FROM ${BASE}
RUN printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d \
 && apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends rabbitmq-server >/dev/null \
 && rm -rf /var/lib/apt/lists/* /var/lib/rabbitmq/* /var/lib/rabbitmq/.erlang.cookie \
 && ln -sf /usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/* /usr/local/bin/ \
 && echo '[rabbitmq_management].' > /etc/rabbitmq/enabled_plugins \
 && mkdir -p /etc/rabbitmq/conf.d \
 && chown -R rabbitmq:rabbitmq /var/lib/rabbitmq /etc/rabbitmq /var/log/rabbitmq
ENV HOME=/var/lib/rabbitmq LANG=C.UTF-8 RABBITMQ_LOGS=-
CMD ["rabbitmq-server"]
