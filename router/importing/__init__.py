"""What other programs' configurations become in router.yaml.

source       a YAML file of another program → data that remembers its lines (pure)
imported     what comes of it: entries, routes, sections, and what is left out, with the reason (pure)
reasons      why settings are left out, of several programs (pure)
commands     a command line → a model with its arguments, or any program's command (pure)
llama_swap   llama-swap's config.yaml (pure), with swap_macros, swap_models and swap_names
litellm      LiteLLM's config.yaml (pure), with litellm_deployments and litellm_groups
llama_presets   llama.cpp's models.ini (pure)
ollama, lm_studio   models of their stores, with their settings (pure); stores reads them
recognising  whose a file is (pure)
writing      all of it → the text of a router.yaml (pure)
accepting    tries each entry; one that router.yaml can't have becomes a comment
"""
