/* Copyright: (c) 2026, herd.llama_cpp contributors
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Loaded before llama-server's libraries (LD_PRELOAD) when it is asked what a model takes on each device, so that its answer is what
 * it will really take. Nothing else uses it. Public functions of ggml-backend.h and llama.h only.
 *
 * With --fit on llama-server measures a model that it does not load (common/fit.cpp). Of the graphs it reserves when it does load one
 * (src/llama-context.cpp, sched_reserve) it then counts the first alone, and after ggml_backend_sched_reserve_size has forgotten on
 * which device each part of it runs: one input more on every device but the first, and too little where a later graph is the larger.
 * Here the graphs are reserved as for a model that is loaded. Compute buffers are allocated for that, and nothing is written to them.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ggml-backend.h"
#include "llama.h"

static ggml_backend_sched_t measured;
static size_t * sizes_of_measured;

static void * original(const char * name) {
    void * function = dlsym(RTLD_NEXT, name);
    if (function == NULL) {
        fprintf(stderr, "E measure: the libraries of this build have no %s\n", name);
        abort();
    }
    return function;
}

static void reserve(ggml_backend_sched_t sched, struct ggml_cgraph * graph) {
    /* it splits the graph by the function below */
    measured = NULL;
    if (!ggml_backend_sched_reserve(sched, graph)) {
        fprintf(stderr, "E measure: the compute buffers cannot be allocated\n");
        abort();
    }
    for (int i = 0; i < ggml_backend_sched_get_n_backends(sched); i++) {
        sizes_of_measured[i] = ggml_backend_sched_get_buffer_size(sched, ggml_backend_sched_get_backend(sched, i));
    }
    measured = sched;
}

/* The first graph. */
void ggml_backend_sched_reserve_size(ggml_backend_sched_t sched, struct ggml_cgraph * graph, size_t * sizes) {
    sizes_of_measured = sizes;
    reserve(sched, graph);
}

/* Those after it, which would only be split. */
void ggml_backend_sched_split_graph(ggml_backend_sched_t sched, struct ggml_cgraph * graph) {
    if (sched == measured) {
        reserve(sched, graph);
        return;
    }
    void (*split_graph)(ggml_backend_sched_t, struct ggml_cgraph *);
    *(void **) &split_graph = original("ggml_backend_sched_split_graph");
    split_graph(sched, graph);
}

/* After the measurement it would load the model: it waits to be ended instead. */
struct llama_model * llama_model_load_from_file(const char * path, struct llama_model_params params) {
    if (!params.no_alloc) {
        for (;;) {
            pause();
        }
    }
    struct llama_model * (*load)(const char *, struct llama_model_params);
    *(void **) &load = original("llama_model_load_from_file");
    return load(path, params);
}
