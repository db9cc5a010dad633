# Copyright: (c) 2026, herd.llama_cpp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lab.py, the role's command, is made of: a subject a file. Nothing but Python's own library is needed, and the commands it runs."""
