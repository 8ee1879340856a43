module fnbox/init

go 1.19
