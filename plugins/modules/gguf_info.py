#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, herd.llama_cpp contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gguf_info
short_description: Read what a GGUF model file says of itself
version_added: 0.1.0
author:
  - herd.llama_cpp contributors (@herd)
description:
  - Reads the header of a GGUF file (metadata and tensor table) and returns the architecture, the sizes of its layers and what else is
    needed to plan its deployment. The weights are not read, so a model of any size takes a fraction of a second.
  - A split model is read whole, whichever of its parts is named, and a missing part is an error that names it.
  - Every number in the file is checked before it is used. A file that is cut off, damaged or something else altogether is an error
    that says so in one sentence.
  - With O(url) the header of a model on a web server is read, a few MB of it, so that a download can be planned before it is begun.
  - Needs nothing but Python on the machine.
options:
  path:
    description: The model file, or any part of a split model. Exactly one of O(path) and O(url) is needed.
    type: path
  url:
    description:
      - The same on a web server, an C(http) or C(https) URL. Redirects are followed.
      - The server must answer requests for a part of a file, as model hubs and common web servers do. With one that does not, the
        module fails instead of downloading the model.
    type: str
  token:
    description: A bearer token for O(url). It goes to that server alone, not to one it redirects to. Ignored with O(path).
    type: str
  timeout_s:
    description: How long the server of O(url) may take for each answer, in seconds, from above 0 to 600.
    type: float
    default: 30.0
  require_complete:
    description: Whether a file whose weights are cut off is an error. With V(false) such a file is described, with
      RV(gguf.complete) V(false).
    type: bool
    default: true
  include_tensors:
    description: Whether to return every tensor. A large model has some thousand.
    type: bool
    default: false
  include_metadata:
    description: Whether to return all metadata, long arrays such as the vocabulary reduced to their length.
    type: bool
    default: false
extends_documentation_fragment:
  - herd.llama_cpp.changes_nothing
seealso:
  - plugin: herd.llama_cpp.gguf_node_count
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Read the header of a model
  herd.llama_cpp.gguf_info:
    path: /var/lib/llama.cpp/models/Llama-3.1-70B-Q4_K_S.gguf
  register: model

- name: Read the header of a model before it is downloaded
  herd.llama_cpp.gguf_info:
    url: https://models.example.com/Llama-3.1-70B-Q4_K_S.gguf
    token: "{{ models_token }}"
  register: model

- name: Show how many machines the model needs by the simple rule
  ansible.builtin.debug:
    msg: "{{ model.gguf.file_size_bytes | herd.llama_cpp.gguf_node_count(24) }}"
"""

RETURN = r"""
gguf:
  description: The model.
  returned: success
  type: dict
  contains:
    path:
      description: The file to give to llama.cpp, the first part of a split model. For O(url) that URL without user, password and query.
      type: str
      sample: /var/lib/llama.cpp/models/SmolLM2-135M-Instruct.Q4_1.gguf
    kind:
      description:
        - What the file is. Only a V(model) can be served by itself. A V(projector) (mmproj), an V(adapter) (LoRA), a V(draft) model and a
          V(control_vector) stand beside one, an V(imatrix) serves to quantise one, a V(vocabulary) has no weights.
        - V(unknown) is a file that lacks what every model has, such as layers.
      type: str
      sample: model
    kind_problem:
      description: What is wrong with it as the model, a sentence without its full stop. Empty for a V(model).
      type: str
      sample: ""
    kind_remedy:
      description: What to do about that. Empty for a V(model).
      type: str
      sample: ""
    version:
      description: Version of the format, 2 or 3.
      type: int
      sample: 3
    architecture:
      description: The architecture as llama.cpp names it, empty when the file does not say.
      type: str
      sample: llama
    name:
      description: The model's own name, empty when the file does not say.
      type: str
      sample: Smollm2 135M 8k Lc100K Mix1 Ep2
    n_layers:
      description: Number of layers, V(null) when the file does not say.
      type: int
      sample: 30
    n_tensors:
      description: Number of tensors.
      type: int
      sample: 272
    n_parameters:
      description: Number of weights.
      type: int
      sample: 134515008
    tensors_per_layer:
      description: Number of tensors of each layer, the first layer first.
      type: list
      elements: int
      sample: [9, 9]
    layer_weights_bytes:
      description: Size of each layer's weights in bytes, the first layer first.
      type: list
      elements: int
      sample: [2216448, 2216448]
    weights_bytes:
      description: Size of all weights in bytes.
      type: int
      sample: 96576768
    embedding_weights_bytes:
      description: Size of the token embedding in bytes.
      type: int
      sample: 30081024
    output_weights_bytes:
      description: Size of the output matrix in bytes, 0 when the embedding serves as such.
      type: int
      sample: 0
    output_tied_to_embedding:
      description: Whether the embedding serves as output matrix too.
      type: bool
      sample: true
    other_weights_bytes:
      description: Size in bytes of what belongs neither to a layer nor to embedding or output.
      type: int
      sample: 2304
    context_length:
      description: The longest context the model was trained for, in tokens.
      type: int
      sample: 8192
    embedding_length:
      description: Width of the model.
      type: int
      sample: 576
    feed_forward_length:
      description: Width of the feed-forward part. A list where layers differ.
      type: raw
      sample: 1536
    head_count:
      description: Number of attention heads. A list where layers differ.
      type: raw
      sample: 9
    head_count_kv:
      description: Number of key and value heads. A list where layers differ.
      type: raw
      sample: 3
    key_length:
      description: Width of a key head, V(null) when it is the width of the model divided by the heads.
      type: int
      sample: 128
    value_length:
      description: Width of a value head, V(null) when it is the width of the model divided by the heads.
      type: int
      sample: 128
    sliding_window:
      description: Length of the attention window in tokens, V(null) when the attention has none.
      type: int
      sample: 4096
    expert_count:
      description: Number of experts, V(null) for a dense model.
      type: int
      sample: 128
    expert_used_count:
      description: Number of experts used for a token, V(null) for a dense model.
      type: int
      sample: 8
    vocab_size:
      description: Number of tokens in the vocabulary.
      type: int
      sample: 49152
    file_type:
      description: The usual name of the quantisation, empty when the file does not say.
      type: str
      sample: Q4_1
    file_type_number:
      description: Its number in llama.cpp.
      type: int
      sample: 3
    tensor_types_bytes:
      description: Bytes in each tensor type, the largest first. One that this collection does not know is called by its number, such as V(TYPE_43).
      type: dict
      sample: {"Q4_1": 66355200, "Q8_0": 30081024, "F32": 140544}
    alignment_bytes:
      description: The alignment of the tensors in bytes.
      type: int
      sample: 32
    file_size_bytes:
      description: Size of the file in bytes, of all parts together for a split model.
      type: int
      sample: 98362432
    header_size_bytes:
      description: Size of the header in bytes, of all parts together for a split model.
      type: int
      sample: 1785664
    bytes_read:
      description: How many bytes were read to learn this.
      type: int
      sample: 1835520
    shards:
      description: The files, one for a model that is not split.
      type: list
      elements: dict
      contains:
        path:
          description: The file.
          type: str
          sample: /var/lib/llama.cpp/models/SmolLM2-135M-Instruct.Q4_1.gguf
        file_size_bytes:
          description: Its size in bytes.
          type: int
          sample: 98362432
        needed_size_bytes:
          description: The size in bytes it must have for all its weights to be there.
          type: int
          sample: 98362432
        n_tensors:
          description: Number of tensors in it.
          type: int
          sample: 272
        complete:
          description: Whether it is that long.
          type: bool
          sample: true
    complete:
      description: Whether all weights are there.
      type: bool
      sample: true
    tensors:
      description: Every tensor in the order of the file.
      returned: O(include_tensors=true)
      type: list
      elements: dict
      contains:
        name:
          description: Its name.
          type: str
          sample: blk.0.attn_q.weight
        shape:
          description: Its dimensions, the row length first.
          type: list
          elements: int
          sample: [576, 576]
        type:
          description: Its type.
          type: str
          sample: Q4_1
        layer:
          description: The layer it belongs to, V(null) for one outside the layers.
          type: int
          sample: 0
        shard:
          description: Index of its file in RV(gguf.shards).
          type: int
          sample: 0
        offset_bytes:
          description: Where in the file it begins.
          type: int
          sample: 1785664
        size_bytes:
          description: Its size in bytes. With a type that this collection does not know, all of them up to the next tensor or the end of the file.
          type: int
          sample: 207360
    metadata:
      description: All metadata. A long array is a mapping with C(array_of) and C(length), a very long text one with
        C(string_of_bytes).
      returned: O(include_metadata=true)
      type: dict
      sample: {"general.architecture": "llama", "tokenizer.ggml.tokens": {"array_of": "string", "length": 49152}}
problem:
  description: What is wrong with a file that is not complete, empty when nothing is.
  returned: success
  type: str
  sample: ""
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.herd.llama_cpp.plugins.module_utils._common.no_log import show_what_is_plain
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.errors import GgufError
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.facts import describe_with_kind
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.shards import read_gguf_model
from ansible_collections.herd.llama_cpp.plugins.module_utils._gguf.http_range import read_remote_gguf_model


def main():
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path"},
            "url": {"type": "str", "no_log": True},
            "token": {"type": "str", "no_log": True},
            "timeout_s": {"type": "float", "default": 30.0},
            "require_complete": {"type": "bool", "default": True},
            "include_tensors": {"type": "bool", "default": False},
            "include_metadata": {"type": "bool", "default": False},
        },
        required_one_of=[("path", "url")],
        mutually_exclusive=[("path", "url")],
        supports_check_mode=True,
    )
    show_what_is_plain(module, "url")
    if not 0 < module.params["timeout_s"] <= 600:
        module.fail_json(msg="timeout_s is %(timeout_s)s; give it a value above 0 and up to 600." % module.params)
    try:
        if module.params["url"] is not None:
            model = read_remote_gguf_model(module.params["url"], module.params["token"] or None, module.params["timeout_s"])
        else:
            model = read_gguf_model(module.params["path"])
    except GgufError as exc:
        module.fail_json(msg="%s." % exc)
    problem = model.incomplete_problem()
    if problem and module.params["require_complete"]:
        module.fail_json(msg="%s." % problem)
    facts = describe_with_kind(model, include_tensors=module.params["include_tensors"], include_metadata=module.params["include_metadata"])
    module.exit_json(changed=False, gguf=facts, problem=problem or "")


if __name__ == "__main__":
    main()
