"""From what should run to what runs: router.yaml becomes backends that come, change and go while requests pass.

launches     a configuration and this machine's facts → every process that is to run
shares       which part of a GPU's memory each of them gets
planning     looks at the machine, and makes a `Plan` of it
diff         two plans → the steps from one to the other
fleet        does these steps, starts and stops everything
lifecycle    how one backend comes, changes and goes
members      one backend with what runs it
watch        tells when router.yaml changes
reload       reads it then, and hands it over
"""
