"""The same bootstrap in C, Go, Rust and bash: a Runtime API loop each, without a library.

It answers `{"bootstrap": the path it was started as, "event": the event}`; of an event with
`raise` in it, the error document OOPS. A response is one request of its own connection.
"""

from __future__ import annotations

OOPS = {"errorType": "Own.Oops", "errorMessage": "boom"}

C = r"""
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define LARGEST (1 << 20)
static char answer[LARGEST];

/* Sends one request; the answer, with its head, is in `answer`. */
static void ask(const char *method, const char *path, const char *body) {
    char host[64];
    snprintf(host, sizeof host, "%s", getenv("AWS_LAMBDA_RUNTIME_API"));
    char *port = strchr(host, ':');
    *port++ = 0;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
    inet_pton(AF_INET, host, &address.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) exit(3);
    dprintf(fd, "%s /2018-06-01/runtime/invocation/%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n"
                "Content-Length: %zu\r\n\r\n%s", method, path, host, strlen(body), body);
    size_t size = 0;
    ssize_t got;
    while ((got = read(fd, answer + size, LARGEST - 1 - size)) > 0) size += got;
    answer[size] = 0;
    close(fd);
}

int main(int argc, char **argv) {
    for (;;) {
        ask("GET", "next", "");
        char *event = strstr(answer, "\r\n\r\n") + 4;
        char *id = strcasestr(answer, "\nLambda-Runtime-Aws-Request-Id:") + 31;
        while (*id == ' ') id++;
        char path[128], *body;
        int raises = strstr(event, "raise") != NULL;
        snprintf(path, sizeof path, "%.*s/%s", (int)strcspn(id, "\r"), id,
                 raises ? "error" : "response");
        if (raises) body = strdup("{\"errorType\":\"Own.Oops\",\"errorMessage\":\"boom\"}");
        else asprintf(&body, "{\"bootstrap\":\"%s\",\"event\":%s}", argv[0], event);
        ask("POST", path, body);
        free(body);
    }
}
"""

RUST = r"""
use std::env;
use std::io::{Read, Write};
use std::net::TcpStream;

/// (head, body) of the answer to one request.
fn ask(method: &str, path: &str, body: &str) -> (String, String) {
    let api = env::var("AWS_LAMBDA_RUNTIME_API").unwrap();
    let mut stream = TcpStream::connect(&api).unwrap();
    write!(
        stream,
        "{method} /2018-06-01/runtime/invocation/{path} HTTP/1.1\r\nHost: {api}\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_string(), body.to_string())
}

fn main() {
    let file = env::args().next().unwrap();
    loop {
        let (head, event) = ask("GET", "next", "");
        let id = head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(name, _)| name.eq_ignore_ascii_case("Lambda-Runtime-Aws-Request-Id"))
            .unwrap()
            .1;
        if event.contains("raise") {
            let error = r#"{"errorType":"Own.Oops","errorMessage":"boom"}"#;
            ask("POST", &format!("{id}/error"), error);
        } else {
            let result = format!(r#"{{"bootstrap":"{file}","event":{event}}}"#);
            ask("POST", &format!("{id}/response"), &result);
        }
    }
}
"""

GO = r"""
package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

func main() {
	api := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/invocation/"
	for {
		next, err := http.Get(api + "next")
		if err != nil {
			panic(err)
		}
		event, _ := io.ReadAll(next.Body)
		next.Body.Close()
		verb, body := "/response", fmt.Sprintf(`{"bootstrap":%q,"event":%s}`, os.Args[0], event)
		if strings.Contains(string(event), "raise") {
			verb, body = "/error", `{"errorType":"Own.Oops","errorMessage":"boom"}`
		}
		id := next.Header.Get("Lambda-Runtime-Aws-Request-Id")
		done, err := http.Post(api+id+verb, "application/json", bytes.NewBufferString(body))
		if err != nil {
			panic(err)
		}
		done.Body.Close()
	}
}
"""

BASH = r"""#!/bin/bash
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
while true; do
  event="$(curl -sS -D /tmp/head "$api/next")"
  id="$(sed -n 's/^Lambda-Runtime-Aws-Request-Id: *\(.*\)\r$/\1/Ip' /tmp/head)"
  if [[ $event == *raise* ]]; then
    curl -sS -o /dev/null "$api/$id/error" -d '{"errorType":"Own.Oops","errorMessage":"boom"}'
  else
    curl -sS -o /dev/null "$api/$id/response" -d "{\"bootstrap\":\"$0\",\"event\":$event}"
  fi
done
"""

SOURCES = {
    "bash": {"bootstrap": BASH},
    "go": {"main.go": GO},
    "c": {"main.c": C},
    "rust": {"main.rs": RUST},
}
"""By language: its one file."""
