"""The theory of the report, computed and put to the test: `python -m src.theory`.

`parameter_findings`, `attention_findings` and `equivariance_findings`, each in the module of its name, return a
`Section` (src/findings.py) with statements, tables and figures.
"""
